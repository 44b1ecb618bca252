// One step of an optimiser on the device for Python: fusedrnn._cuda.update.
#include "cuda/bindings.h"
#include "cuda/intake.h"
#include "cuda/lists.h"
#include "optimiser_arguments.h"

namespace fusedrnn::python {
namespace {

constexpr const char* kName = "update";

template <class E>
E* array_of(const char* name, const py::object& value, const std::vector<int64_t>& shape) {
  const DeviceRule rule{kName, name, "of its parameter", shape};
  return present(dense<E>(value, rule), rule);
}

template <class T>
cuda::UpdateItem<T> item_of(const UpdateArguments& given, size_t k) {
  const py::object parameter = given.parameters[k];
  const std::vector<int64_t> shape = shape_of(parameter);
  cuda::UpdateItem<T> item{};
  item.parameter = array_of<T>("parameters", parameter, shape);
  item.gradient = array_of<const T>("gradients", given.gradients[k], shape);
  for (size_t slot = 0; slot < given.states.size(); ++slot) {
    const py::object arrays = given.states[slot];
    if (!arrays.is_none()) item.state[slot] = array_of<T>("states", py::cast<py::list>(arrays)[k], shape);
  }
  item.size = 1;
  for (const int64_t size : shape) item.size *= size;
  item.lr = given.rates[k], item.weight_decay = given.decays[k];
  return item;
}

template <class T>
void run(int optimiser, const std::vector<double>& numbers, const UpdateArguments& given, cudaStream_t stream) {
  std::vector<cuda::UpdateItem<T>> items;
  for (size_t k = 0; k < given.parameters.size(); ++k) items.push_back(item_of<T>(given, k));
  const py::gil_scoped_release released;
  cuda::update(optimiser, numbers.data(), items.data(), static_cast<int64_t>(items.size()), stream);
}

void update(const std::string& name, const std::vector<double>& numbers, const py::list& parameters,
            const py::list& gradients, const py::list& states, const std::vector<double>& rates,
            const std::vector<double>& decays, uintptr_t stream) {
  const int optimiser = optimiser_index(name);
  const UpdateArguments given{parameters, gradients, states, rates, decays};
  check_lengths(kOptimisers[optimiser], numbers, given);
  if (parameters.empty()) return;
  const auto run_type = is_double(kName, "parameters", parameters[0]) ? &run<double> : &run<float>;
  run_type(optimiser, numbers, given, reinterpret_cast<cudaStream_t>(stream));
}

}  // namespace

void bind_optimisers(py::module_& module) {
  module.def(
      "update", &update, py::arg("optimiser"), py::arg("numbers"), py::arg("parameters"), py::arg("gradients"),
      py::arg("states"), py::arg("rates"), py::arg("decays"), py::arg("stream"),
      "One step for parameters of one dtype. states holds, for each state, a list of arrays, or None: not kept.");
}

}  // namespace fusedrnn::python
