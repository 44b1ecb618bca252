// One step of an optimiser for a list of parameters of one type.
#include "bindings.h"
#include "cpu/backend.h"
#include "intake.h"
#include "optimiser_arguments.h"

namespace fusedrnn::python {
namespace {

constexpr const char* kName = "update";

template <class T>
cpu::UpdateItem<T> item_of(const UpdateArguments& given, size_t k, const std::vector<py::ssize_t>& shape) {
  const char* letters = "of its parameter";
  const py::object parameter = given.parameters[k], gradient = given.gradients[k];
  cpu::UpdateItem<T> item{};
  item.parameter = present(dense<T>(parameter, {kName, "parameters", letters, shape}), kName, "parameters");
  item.gradient = present(dense<const T>(gradient, {kName, "gradients", letters, shape}), kName, "gradients");
  for (size_t slot = 0; slot < given.states.size(); ++slot) {
    const py::object arrays = given.states[slot];
    if (arrays.is_none()) continue;
    const py::object state = py::cast<py::list>(arrays)[k];
    item.state[slot] = present(dense<T>(state, {kName, "states", letters, shape}), kName, "states");
  }
  item.lr = given.rates[k], item.weight_decay = given.decays[k];
  return item;
}

template <class T>
void run(int optimiser, const std::vector<double>& numbers, const UpdateArguments& given) {
  std::vector<cpu::UpdateItem<T>> items;
  std::vector<int64_t> sizes;
  for (size_t k = 0; k < given.parameters.size(); ++k) {
    const py::object parameter = given.parameters[k];
    const std::vector<py::ssize_t> shape = shape_of(parameter);
    items.push_back(item_of<T>(given, k, shape));
    sizes.push_back(size_of(shape));
  }
  const py::gil_scoped_release released;
  cpu::update(optimiser, numbers.data(), items.data(), sizes.data(), static_cast<int64_t>(items.size()));
}

void update(const std::string& name, const std::vector<double>& numbers, const py::list& parameters,
            const py::list& gradients, const py::list& states, const std::vector<double>& rates,
            const std::vector<double>& decays) {
  const int optimiser = optimiser_index(name);
  const UpdateArguments given{parameters, gradients, states, rates, decays};
  check_lengths(kOptimisers[optimiser], numbers, given);
  if (parameters.empty()) return;
  const py::object first = parameters[0];
  const bool is_double = py::isinstance<py::array>(first) &&
                         py::reinterpret_borrow<py::array>(first).dtype().equal(py::dtype::of<double>());
  is_double ? run<double>(optimiser, numbers, given) : run<float>(optimiser, numbers, given);
}

}  // namespace

void bind_optimisers(py::module_& module) {
  module.def(
      "update", &update, py::arg("optimiser"), py::arg("numbers"), py::arg("parameters"), py::arg("gradients"),
      py::arg("states"), py::arg("rates"), py::arg("decays"),
      "One step for parameters of one dtype. states holds, for each state, a list of arrays, or None: not kept.");
}

}  // namespace fusedrnn::python
