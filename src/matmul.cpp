// c = a b + bias, for the layers around the recurrence.
#include "bindings.h"
#include "cpu/backend.h"
#include "intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
void run(const py::array& a, const py::array& b, const py::object& bias, const py::array& c, bool add,
         const py::object& row_sums) {
  constexpr const char* kName = "matmul";
  if (a.ndim() != 2 || b.ndim() != 2) throw py::value_error("matmul: a and b must have two axes");
  cpu::MatmulTask<T> task{};
  task.M = a.shape(0), task.K = a.shape(1), task.N = b.shape(1);
  const Rule a_rule{kName, "a", "(M, K)", {task.M, task.K}}, b_rule{kName, "b", "(K, N)", {task.K, task.N}};
  task.a = pointer<const T>(checked<const T>(a, a_rule));
  task.b = pointer<const T>(checked<const T>(b, b_rule));
  task.a_row = elements<T>(a, 0, a_rule), task.a_column = task.K > 1 ? elements<T>(a, 1, a_rule) : 1;
  task.b_row = elements<T>(b, 0, b_rule), task.b_column = task.N > 1 ? elements<T>(b, 1, b_rule) : 1;
  if (task.b_column != 1 && task.b_row != 1 && task.K > 1)
    throw py::value_error("matmul: b must be contiguous along one of its axes");
  task.bias = dense<const T>(bias, {kName, "bias", "(N,)", {task.N}});
  task.c = present(dense<T>(c, {kName, "c", "(M, N)", {task.M, task.N}}), kName, "c");
  task.add = add;
  task.row_sums = dense<T>(row_sums, {kName, "row_sums", "(M,)", {task.M}});
  checked_product({task.M, task.N, task.K});
  const py::gil_scoped_release released;
  cpu::matmul(task);
}

void matmul(const py::array& a, const py::array& b, const py::object& bias, const py::array& c, bool add,
            const py::object& row_sums) {
  if (a.dtype().equal(py::dtype::of<float>())) return run<float>(a, b, bias, c, add, row_sums);
  if (a.dtype().equal(py::dtype::of<double>())) return run<double>(a, b, bias, c, add, row_sums);
  throw py::type_error("matmul: a must have dtype float32 or float64, got " + std::string(py::str(a.dtype())));
}

}  // namespace

void bind_matmul(py::module_& module) {
  module.def(
      "matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("bias"), py::arg("c"), py::arg("add") = false,
      py::arg("row_sums") = py::none(),
      "c (M, N) = a (M, K) b (K, N) + bias (N,) or None; with add, c += a b. row_sums (M,): the sums of a's rows "
      "go there, or are added. a has any strides, b is contiguous along one axis.");
}

}  // namespace fusedrnn::python
