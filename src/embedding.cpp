// The gradient of a table of which rows were looked up.
#include "bindings.h"
#include "cpu/backend.h"
#include "intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
void run(const py::array& ids, const py::array& x, const py::array& out) {
  constexpr const char* kName = "scatter_add";
  if (x.ndim() != 2 || out.ndim() != 2) throw py::value_error("scatter_add: x and out must have two axes");
  cpu::ScatterTask<T> task{};
  task.rows = x.shape(0), task.columns = x.shape(1), task.table_rows = out.shape(0);
  task.ids = present(dense<const int64_t>(ids, {kName, "ids", "(N,)", {task.rows}}), kName, "ids");
  task.x = present(dense<const T>(x, {kName, "x", "(N, D)", {task.rows, task.columns}}), kName, "x");
  task.out = present(dense<T>(out, {kName, "out", "(V, D)", {task.table_rows, task.columns}}), kName, "out");
  for (int64_t n = 0; n < task.rows; ++n)
    if (task.ids[n] < 0 || task.ids[n] >= task.table_rows)
      throw py::value_error("scatter_add: ids must be in [0, V) = [0, " + std::to_string(task.table_rows) + "), got " +
                            std::to_string(task.ids[n]));
  const py::gil_scoped_release released;
  cpu::scatter_add(task);
}

void scatter_add(const py::array& ids, const py::array& x, const py::array& out) {
  if (x.dtype().equal(py::dtype::of<float>())) return run<float>(ids, x, out);
  if (x.dtype().equal(py::dtype::of<double>())) return run<double>(ids, x, out);
  throw py::type_error("scatter_add: x must have dtype float32 or float64, got " + std::string(py::str(x.dtype())));
}

}  // namespace

void bind_embedding(py::module_& module) {
  module.def("scatter_add", &scatter_add, py::arg("ids"), py::arg("x"), py::arg("out"),
             "out (V, D) = zeros, plus the rows of x (N, D) by ids (N,), in rising order.");
}

}  // namespace fusedrnn::python
