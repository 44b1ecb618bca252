// What both backends are given for a step of an optimiser, and its checks.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "optimisers/registry.h"

namespace fusedrnn::python {

namespace py = pybind11;

inline int optimiser_index(const std::string& name) {
  std::string names;
  for (int index = 0; index < kOptimiserCount; ++index) {
    if (name == kOptimisers[index].name) return index;
    names.append(index ? ", " : "").append(kOptimisers[index].name);
  }
  throw py::value_error("update: optimiser must be one of " + names + ", got '" + name + "'");
}

inline void expect_length(const char* what, size_t expected, size_t got) {
  if (got != expected)
    throw py::value_error(std::string("update: ") + what + " must have length " + std::to_string(expected) + ", got " +
                          std::to_string(got));
}

// What Python hands over: for each parameter its gradient, rate and decay; for each state a list of arrays or None.
struct UpdateArguments {
  const py::list& parameters;
  const py::list& gradients;
  const py::list& states;
  const std::vector<double>& rates;
  const std::vector<double>& decays;
};

inline void check_lengths(const OptimiserInfo& optimiser, const std::vector<double>& numbers,
                          const UpdateArguments& given) {
  const size_t count = given.parameters.size();
  expect_length("numbers", static_cast<size_t>(optimiser.numbers), numbers.size());
  expect_length("gradients", count, given.gradients.size());
  expect_length("rates", count, given.rates.size());
  expect_length("decays", count, given.decays.size());
  expect_length("states", static_cast<size_t>(optimiser.states), given.states.size());
  for (const py::handle& state : given.states)
    if (!state.is_none()) expect_length("every state", count, py::len(state));
}

}  // namespace fusedrnn::python
