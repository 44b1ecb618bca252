// The softmax in the loss: its exponentials, rows times factors, and the whole way from logits to their gradient.
#include "bindings.h"
#include "cpu/backend.h"
#include "intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
cpu::SoftmaxTask<T> task_of(const char* function, const py::array& x, const py::array& out) {
  if (x.ndim() != 2 || x.shape(1) < 1)
    throw py::value_error(std::string(function) + ": x must have shape (R, V), V >= 1");
  const std::vector<py::ssize_t> shape{x.shape(0), x.shape(1)};
  cpu::SoftmaxTask<T> task{};
  task.rows = shape[0], task.columns = shape[1];
  task.x = present(dense<const T>(x, {function, "x", "(R, V)", shape}), function, "x");
  task.out = present(dense<T>(out, {function, "out", "(R, V)", shape}), function, "out");
  return task;
}

template <class T>
void run_exponentials(const py::array& x, const py::array& out, const py::array& maxima, const py::array& sums) {
  constexpr const char* kName = "exponentials";
  auto task = task_of<T>(kName, x, out);
  task.maxima = present(dense<T>(maxima, {kName, "maxima", "(R,)", {task.rows}}), kName, "maxima");
  task.sums = present(dense<T>(sums, {kName, "sums", "(R,)", {task.rows}}), kName, "sums");
  const py::gil_scoped_release released;
  cpu::exponentials(task);
}

template <class T>
void run_scale_rows(const py::array& x, const py::array& factors, const py::array& out) {
  constexpr const char* kName = "scale_rows";
  auto task = task_of<T>(kName, x, out);
  task.factors = present(dense<const T>(factors, {kName, "factors", "(R,)", {task.rows}}), kName, "factors");
  const py::gil_scoped_release released;
  cpu::scale_rows(task);
}

template <class T>
void run_cross_entropy(const py::array& x, const py::array& targets, const py::object& factors, const py::array& maxima,
                       const py::array& sums, const py::array& chosen) {
  constexpr const char* kName = "cross_entropy";
  auto task = task_of<T>(kName, x, x);
  const std::vector<py::ssize_t> rows{task.rows};
  task.targets = present(dense<const int64_t>(targets, {kName, "targets", "(R,)", rows}), kName, "targets");
  task.factors = dense<const T>(factors, {kName, "factors", "(R,)", rows});
  task.maxima = present(dense<T>(maxima, {kName, "maxima", "(R,)", rows}), kName, "maxima");
  task.sums = present(dense<T>(sums, {kName, "sums", "(R,)", rows}), kName, "sums");
  task.chosen = present(dense<T>(chosen, {kName, "chosen", "(R,)", rows}), kName, "chosen");
  for (int64_t r = 0; r < task.rows; ++r)
    if (task.targets[r] < 0 || task.targets[r] >= task.columns)
      throw py::value_error("cross_entropy: targets must be in [0, V) = [0, " + std::to_string(task.columns) +
                            "), got " + std::to_string(task.targets[r]));
  const py::gil_scoped_release released;
  cpu::cross_entropy(task);
}

[[noreturn]] void refuse(const char* function, const py::array& x) {
  throw py::type_error(std::string(function) + ": x must have dtype float32 or float64, got " +
                       std::string(py::str(x.dtype())));
}

void exponentials(const py::array& x, const py::array& out, const py::array& maxima, const py::array& sums) {
  if (x.dtype().equal(py::dtype::of<float>())) return run_exponentials<float>(x, out, maxima, sums);
  if (x.dtype().equal(py::dtype::of<double>())) return run_exponentials<double>(x, out, maxima, sums);
  refuse("exponentials", x);
}

void scale_rows(const py::array& x, const py::array& factors, const py::array& out) {
  if (x.dtype().equal(py::dtype::of<float>())) return run_scale_rows<float>(x, factors, out);
  if (x.dtype().equal(py::dtype::of<double>())) return run_scale_rows<double>(x, factors, out);
  refuse("scale_rows", x);
}

void cross_entropy(const py::array& x, const py::array& targets, const py::object& factors, const py::array& maxima,
                   const py::array& sums, const py::array& chosen) {
  if (x.dtype().equal(py::dtype::of<float>()))
    return run_cross_entropy<float>(x, targets, factors, maxima, sums, chosen);
  if (x.dtype().equal(py::dtype::of<double>()))
    return run_cross_entropy<double>(x, targets, factors, maxima, sums, chosen);
  refuse("cross_entropy", x);
}

}  // namespace

void bind_softmax(py::module_& module) {
  module.def("exponentials", &exponentials, py::arg("x"), py::arg("out"), py::arg("maxima"), py::arg("sums"),
             "out (R, V) = exp(x - maxima), with the maximum and the sum of each row.");
  module.def("scale_rows", &scale_rows, py::arg("x"), py::arg("factors"), py::arg("out"),
             "out (R, V) = x times the row's factor; out may be x.");
  module.def("cross_entropy", &cross_entropy, py::arg("x"), py::arg("targets"), py::arg("factors"), py::arg("maxima"),
             py::arg("sums"), py::arg("chosen"),
             "x (R, V) = factor of the row times (softmax(x) - [column is the target]), or exp(x - maxima) without "
             "factors; with maximum, sum of the exponentials and x of the target of each row.");
}

}  // namespace fusedrnn::python
