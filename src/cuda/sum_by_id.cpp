// Sums of rows by id on the device for Python: fusedrnn._cuda.sum_by_id.
#include "cuda/backend.h"
#include "cuda/bindings.h"
#include "cuda/intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
void run(const py::object& x, const py::object& order, const py::object& starts, const py::object& out,
         cudaStream_t stream) {
  constexpr const char* kName = "sum_by_id";
  const std::vector<int64_t> rows = shape_of(x), table = shape_of(out);
  if (rows.size() != 2 || table.size() != 2) throw py::value_error("sum_by_id: x and out must have two axes");
  const DeviceRule x_rule{kName, "x", "(rows, C)", rows}, out_rule{kName, "out", "(I, C)", {table[0], rows[1]}};
  const DeviceRule order_rule{kName, "order", "(rows,)", {rows[0]}},
      starts_rule{kName, "starts", "(I + 1,)", {table[0] + 1}};
  cuda::SumById<T> problem{};
  problem.columns = rows[1], problem.table_rows = table[0];
  problem.x = dense<const T>(x, x_rule);
  problem.order = dense<const int64_t>(order, order_rule);
  problem.starts = present(dense<const int64_t>(starts, starts_rule), starts_rule);
  problem.out = present(dense<T>(out, out_rule), out_rule);
  const py::gil_scoped_release released;
  cuda::sum_by_id(problem, stream);
}

void sum_by_id(const py::object& x, const py::object& order, const py::object& starts, const py::object& out,
               uintptr_t stream) {
  with_type("sum_by_id: dtype of x", py::str(x.attr("dtype")),
            [&](auto number) { run<decltype(number)>(x, order, starts, out, reinterpret_cast<cudaStream_t>(stream)); });
}

}  // namespace

void bind_sum_by_id(py::module_& module) {
  module.def("sum_by_id", &sum_by_id, py::arg("x"), py::arg("order"), py::arg("starts"), py::arg("out"),
             py::arg("stream"), "out[i] = the sum of the rows order[starts[i] : starts[i + 1]] of x.");
}

}  // namespace fusedrnn::python
