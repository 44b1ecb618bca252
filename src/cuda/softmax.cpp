// The softmax in the loss on the device for Python: exponentials, their gradient, and both at once.
#include "cuda/softmax.h"

#include "cuda/bindings.h"
#include "cuda/intake.h"

namespace fusedrnn::python {
namespace {

// An argument (R,) of each row.
template <class E>
E* of_rows(const char* function, const char* name, const py::object& value, int64_t rows) {
  const DeviceRule rule{function, name, "(R,)", {rows}};
  return present(dense<E>(value, rule), rule);
}

template <class T>
cuda::Softmax<T> problem_of(const char* function, const py::object& x, const py::object& targets,
                            const py::object& out) {
  const std::vector<int64_t> shape = shape_of(x);
  if (shape.size() != 2 || shape[1] < 1)
    throw py::value_error(std::string(function) + ": x must have shape (R, V), V >= 1, got " + text_of(shape));
  const DeviceRule x_rule{function, "x", "(R, V)", shape}, out_rule{function, "out", "(R, V)", shape};
  cuda::Softmax<T> problem{};
  problem.rows = shape[0], problem.columns = shape[1];
  problem.x = present(dense<const T>(x, x_rule), x_rule);
  problem.out = present(dense<T>(out, out_rule), out_rule);
  problem.targets = of_rows<const int64_t>(function, "targets", targets, shape[0]);
  return problem;
}

template <class T>
void set_sums(const char* function, const py::object& maxima, const py::object& sums, const py::object& chosen,
              cuda::Softmax<T>& problem) {
  problem.maxima = of_rows<T>(function, "maxima", maxima, problem.rows);
  problem.sums = of_rows<T>(function, "sums", sums, problem.rows);
  problem.chosen = of_rows<T>(function, "chosen", chosen, problem.rows);
}

template <class T>
void run_exponentials(const py::object& x, const py::object& targets, const py::object& out, const py::object& maxima,
                      const py::object& sums, const py::object& chosen, cudaStream_t stream) {
  auto problem = problem_of<T>("exponentials", x, targets, out);
  set_sums("exponentials", maxima, sums, chosen, problem);
  const py::gil_scoped_release released;
  cuda::exponentials(problem, stream);
}

template <class T>
void run_gradient(const py::object& x, const py::object& targets, const py::object& factors, const py::object& shifts,
                  const py::object& out, cudaStream_t stream) {
  constexpr const char* kName = "softmax_gradient";
  auto problem = problem_of<T>(kName, x, targets, out);
  problem.factors = of_rows<const T>(kName, "factors", factors, problem.rows);
  problem.shifts = of_rows<const T>(kName, "shifts", shifts, problem.rows);
  const py::gil_scoped_release released;
  cuda::softmax_gradient(problem, stream);
}

template <class T>
void run_cross_entropy(const py::object& x, const py::object& targets, const py::object& factors,
                       const py::object& maxima, const py::object& sums, const py::object& chosen,
                       cudaStream_t stream) {
  constexpr const char* kName = "cross_entropy";
  auto problem = problem_of<T>(kName, x, targets, x);
  problem.factors = dense<const T>(factors, {kName, "factors", "(R,)", {problem.rows}});
  set_sums(kName, maxima, sums, chosen, problem);
  const py::gil_scoped_release released;
  cuda::cross_entropy(problem, stream);
}

void exponentials(const py::object& x, const py::object& targets, const py::object& out, const py::object& maxima,
                  const py::object& sums, const py::object& chosen, uintptr_t stream) {
  const auto run = is_double("exponentials", "x", x) ? &run_exponentials<double> : &run_exponentials<float>;
  run(x, targets, out, maxima, sums, chosen, reinterpret_cast<cudaStream_t>(stream));
}

void softmax_gradient(const py::object& x, const py::object& targets, const py::object& factors,
                      const py::object& shifts, const py::object& out, uintptr_t stream) {
  const auto run = is_double("softmax_gradient", "x", x) ? &run_gradient<double> : &run_gradient<float>;
  run(x, targets, factors, shifts, out, reinterpret_cast<cudaStream_t>(stream));
}

void cross_entropy(const py::object& x, const py::object& targets, const py::object& factors, const py::object& maxima,
                   const py::object& sums, const py::object& chosen, uintptr_t stream) {
  const auto run = is_double("cross_entropy", "x", x) ? &run_cross_entropy<double> : &run_cross_entropy<float>;
  run(x, targets, factors, maxima, sums, chosen, reinterpret_cast<cudaStream_t>(stream));
}

}  // namespace

void bind_softmax(py::module_& module) {
  module.def("exponentials", &exponentials, py::arg("x"), py::arg("targets"), py::arg("out"), py::arg("maxima"),
             py::arg("sums"), py::arg("chosen"), py::arg("stream"),
             "out (R, V) = exp(x - maxima), with maximum, sum of the exponentials and x of the target of each row.");
  module.def("softmax_gradient", &softmax_gradient, py::arg("x"), py::arg("targets"), py::arg("factors"),
             py::arg("shifts"), py::arg("out"), py::arg("stream"),
             "out (R, V) = x times the row's factor, less its shift in the column of the target; out may be x.");
  module.def("cross_entropy", &cross_entropy, py::arg("x"), py::arg("targets"), py::arg("factors"), py::arg("maxima"),
             py::arg("sums"), py::arg("chosen"), py::arg("stream"),
             "x (R, V) = factor of the row times (softmax(x) - [column is the target]), with maximum, sum of the "
             "exponentials and x of the target of each row; without factors x is left undefined.");
}

}  // namespace fusedrnn::python
