// The recurrent loops for Python: fusedrnn._cuda.Rows says when the rows live, forward and backward run over them.
#include <cstdlib>
#include <optional>
#include <vector>

#include "cells/registry.h"
#include "cuda/backend.h"
#include "cuda/bindings.h"
#include "cuda/intake.h"
#include "cuda/row_arguments.h"

namespace fusedrnn::python {
namespace {

int cell_index(const std::string& name) {
  for (int index = 0; index < kCellCount; ++index)
    if (name == kCells[index].name) return index;
  throw py::value_error("cuda: cell must be one of this build's, got '" + name + "'");
}

// An array with a row for every place of the steps [begin, end).
template <class E>
E* by_place(const py::handle& value, const char* function, const char* name, const DeviceRows& rows, int64_t begin,
            int64_t end, int64_t columns) {
  const auto [first, last] = rows.places(begin, end);
  const DeviceRule rule{function, name, "(places, columns)", {last - first, columns}};
  return present(dense<E>(value, rule), rule);
}

template <class T, class E, size_t N>
void states(const char* function, const char* name, const Sizes& sizes, int count, const py::tuple& arrays,
            E* (&out)[N]) {
  if (static_cast<int>(arrays.size()) != count)
    throw py::value_error(std::string(function) + ": " + name + " must have " + std::to_string(count) +
                          " arrays or Nones, got " + std::to_string(arrays.size()));
  for (int k = 0; k < count; ++k)
    out[k] = dense<E>(arrays[k], {function, name, k == 0 ? "(B, P)" : "(B, H)", {sizes.B, k == 0 ? sizes.P : sizes.H}});
}

// States from step to step: the arrays of `own` themselves if they are wide, else those of `given`.
template <class T, size_t N>
void running_states(const char* function, const Sizes& sizes, int count, const py::tuple& given, T* const (&own)[N],
                    cuda::Wide<T>* (&out)[N]) {
  if constexpr (std::is_same_v<T, cuda::Wide<T>>) {
    for (int k = 0; k < count; ++k) out[k] = own[k];
  } else {
    states<cuda::Wide<T>>(function, "running", sizes, count, given, out);
    for (int k = 0; k < count; ++k) present(out[k], {function, "running", "", {}});
  }
}

template <class E>
Saved<E> kept(const char* function, const CellInfo& info, const Sizes& s, const DeviceRows& rows, const Steps& steps,
              bool projects, const py::tuple& arrays) {
  if (arrays.size() != 3) throw py::value_error(std::string(function) + ": saved must be three arrays or Nones");
  const auto made = [&](int which, const char* name, int64_t columns) {
    return by_place<E>(arrays[which], function, name, rows, steps.saved_begin, steps.saved_end, columns);
  };
  Saved<E> saved;
  if (info.saved > 0) saved.gates = made(0, "saved gates", info.saved * s.H);
  if (info.states > 1) saved.states = made(1, "saved states", (info.states - 1) * s.H);
  if (projects) saved.raw = made(2, "saved raw", s.H);
  return saved;
}

cuda::Host host_of(const char* function, const DeviceRows& rows, const py::object& arrived, uintptr_t stream) {
  const DeviceRule rule{function, "arrived", "(arrived_numbers,)", {cuda::arrived_numbers(cuda::current_device())}};
  const auto counters = reinterpret_cast<unsigned long long*>(present(dense<int64_t>(arrived, rule), rule));
  return {rows.first(), counters, reinterpret_cast<cudaStream_t>(stream)};
}

// What all directions of a call have in common.
struct Common {
  int cell;
  bool tf32;  // float may be rounded to it
  Sizes sizes;
  bool projection;
};

// FUSEDRNN_GRAPHS: whether tier step queues its launches as graphs.
bool graphs_wanted() {
  const char* value = std::getenv("FUSEDRNN_GRAPHS");
  const std::string word = value == nullptr ? "1" : value;
  if (word != "0" && word != "1") throw py::value_error("FUSEDRNN_GRAPHS must be one of 0, 1, got '" + word + "'");
  return word == "1";
}

// The plan of `steps` steps on the current GPU, or the one whose tier FUSEDRNN_TIER names.
cuda::Plan plan_of(const Common& layer, int64_t steps, int directions, bool backward, int element_bytes) {
  const Sizes& sizes = layer.sizes;
  const int gates = kCells[layer.cell].gates;
  cuda::PlanInput input{steps, sizes.B, sizes.H, sizes.P, gates, element_bytes, layer.projection};
  if (backward) input.columns = sizes.P, input.depth = gates * sizes.H, input.gates = 1;
  input.tensor = element_bytes == 2 || (element_bytes == 4 && layer.tf32);
  input.directions = directions;
  input.graphs = graphs_wanted();
  const char* tier = std::getenv("FUSEDRNN_TIER");
  return cuda::make_plan(cuda::current_device(), input, tier == nullptr ? "" : tier);
}

// Arrays of one direction, as Python gives them; backend.h and problem.h say what they are.
struct ForwardArrays {
  const DeviceRows* rows;
  Steps steps;
  py::object gx;
  py::tuple weights, state_in;
  py::object y;
  py::tuple state_out;
  py::object saved, raw;
  py::tuple running;
};

struct BackwardArrays {
  const DeviceRows* rows;
  Steps steps;
  py::tuple weights;
  py::object w_hh_turned;
  py::tuple state_in;
  py::object y;
  py::tuple saved;
  py::object dy;
  py::tuple dstate_out, dstate_in, gradients, running;
};

template <class T>
cuda::ForwardLoop<T> forward_of(const Common& layer, const ForwardArrays& given) {
  constexpr const char* kName = "forward";
  const CellInfo& info = kCells[layer.cell];
  const Sizes& sizes = layer.sizes;
  const auto [T_, B, I, H, P] = sizes;
  const int64_t gates = info.gates * H;
  if (given.weights.size() != 4) throw py::value_error("forward: weights must be w_hh, b_ih, b_hh and w_hr");
  const DeviceRows& rows = *given.rows;
  cuda::ForwardLoop<T> loop{};
  loop.sizes = sizes;
  loop.rows = rows.view();
  loop.part = given.steps.part(rows);
  const DeviceRule hh_rule{kName, "w_hh", "(G*H, P)", {gates, P}};
  loop.gx = by_place<const T>(given.gx, kName, "gx", rows, given.steps.begin, given.steps.end, gates);
  loop.w_hh = present(dense<const T>(given.weights[0], hh_rule), hh_rule);
  loop.b_ih = dense<const T>(given.weights[1], {kName, "b_ih", "(G*H,)", {gates}});
  loop.b_hh = dense<const T>(given.weights[2], {kName, "b_hh", "(G*H,)", {gates}});
  loop.w_hr = dense<const T>(given.weights[3], {kName, "w_hr", "(P, H)", {P, H}});
  const DeviceRule y_rule{kName, "y", "(T, B, P)", {T_, B, P}}, raw_rule{kName, "raw", "(B, H)", {B, H}};
  loop.y = sequence<T>(given.y, y_rule);
  present(loop.y.data, y_rule);
  states<T>(kName, "state_in", sizes, info.states, given.state_in, loop.state_in);
  states<T>(kName, "state_out", sizes, info.states, given.state_out, loop.state_out);
  for (int k = 0; k < info.states; ++k) present(loop.state_out[k], {kName, "state_out", "", {}});
  running_states<T>(kName, sizes, info.states, given.running, loop.state_out, loop.running);
  const bool projects = loop.w_hr != nullptr;
  if (!given.saved.is_none())
    loop.saved = kept<T>(kName, info, sizes, rows, given.steps, projects, py::cast<py::tuple>(given.saved));
  loop.raw = dense<T>(given.raw, raw_rule);
  if (projects && loop.saved.raw == nullptr) present(loop.raw, raw_rule);
  return loop;
}

template <class T>
cuda::BackwardLoop<T> backward_of(const Common& layer, const BackwardArrays& given) {
  constexpr const char* kName = "backward";
  const CellInfo& info = kCells[layer.cell];
  const Sizes& sizes = layer.sizes;
  const auto [T_, B, I, H, P] = sizes;
  const int64_t gates = info.gates * H;
  if (given.weights.size() != 4) throw py::value_error("backward: weights must be w_hh, b_ih, b_hh and w_hr");
  if (given.gradients.size() != 4) throw py::value_error("backward: gradients must be dgx, dgh, before and doutput");
  const DeviceRows& rows = *given.rows;
  cuda::BackwardLoop<T> loop{};
  loop.sizes = sizes;
  loop.rows = rows.view();
  loop.part = given.steps.part(rows);
  const DeviceRule hh_rule{kName, "w_hh", "(G*H, P)", {gates, P}}, y_rule{kName, "y", "(T, B, P)", {T_, B, P}};
  loop.w_hh = present(dense<const T>(given.weights[0], hh_rule), hh_rule);
  loop.w_hh_turned = dense<const T>(given.w_hh_turned, {kName, "w_hh_turned", "(P, G*H)", {P, gates}});
  loop.w_hr = dense<const T>(given.weights[3], {kName, "w_hr", "(P, H)", {P, H}});
  loop.y = sequence<const T>(given.y, y_rule);
  present(loop.y.data, y_rule);
  loop.saved = kept<const T>(kName, info, sizes, rows, given.steps, loop.w_hr != nullptr, given.saved);
  loop.dy = sequence<const T>(given.dy, {kName, "dy", "(T, B, P)", {T_, B, P}});
  states<T>(kName, "state_in", sizes, info.states, given.state_in, loop.state_in);
  states<T>(kName, "dstate_out", sizes, info.states, given.dstate_out, loop.dstate_out);
  states<T>(kName, "dstate_in", sizes, info.states, given.dstate_in, loop.dstate_in);
  for (int k = 0; k < info.states; ++k) present(loop.dstate_in[k], {kName, "dstate_in", "", {}});
  running_states<T>(kName, sizes, info.states, given.running, loop.dstate_in, loop.running);
  const auto made = [&](int which, const char* name, int64_t columns) {
    return by_place<T>(given.gradients[which], kName, name, rows, given.steps.begin, given.steps.end, columns);
  };
  loop.dgx = made(0, "dgx", gates);
  loop.dgh = info.one_gate_gradient ? loop.dgx : made(1, "dgh", gates);
  loop.before = made(2, "before", P);
  if (loop.w_hr != nullptr) loop.doutput = made(3, "doutput", P);
  return loop;
}

// A layer whose directions are `given`, which agree in rows and steps.
template <class Arrays>
Common common_of(const char* function, const std::string& cell, bool tf32, int64_t hidden, int64_t outputs,
                 const std::vector<Arrays>& given) {
  const int index = cell_index(cell);
  if (given.empty() || given.size() > 2)
    throw py::value_error(std::string(function) + ": directions must be one or two, got " +
                          std::to_string(given.size()));
  if (hidden < 1 || outputs < 1) throw py::value_error("cuda: H and P must be at least 1");
  if (!kCells[index].projects && hidden != outputs) throw py::value_error("cuda: P must be H without a projection");
  const Arrays &first = given.front(), &last = given.back();
  const cuda::Rows &rows = first.rows->view(), &its = last.rows->view();
  if (rows.steps != its.steps || rows.rows != its.rows || first.rows->first_places() != last.rows->first_places() ||
      first.steps.begin != last.steps.begin || first.steps.end != last.steps.end)
    throw py::value_error(std::string(function) + ": directions must agree in rows, lengths and steps");
  return {index, tf32, {rows.steps, rows.rows, 1, hidden, outputs}, !py::object(first.weights[3]).is_none()};
}

void forward(const std::string& cell, const std::string& dtype, bool tf32, int64_t hidden, int64_t outputs,
             const std::vector<ForwardArrays>& given, const py::object& arrived, uintptr_t stream) {
  const Common layer = common_of("forward", cell, tf32, hidden, outputs, given);
  with_type("cuda: dtype", dtype, [&](auto zero) {
    using T = decltype(zero);
    cuda::Directions<cuda::ForwardLoop<T>> loops{};
    for (const ForwardArrays& direction : given) loops.of[loops.count++] = forward_of<T>(layer, direction);
    const Steps& steps = given[0].steps;
    const cuda::Plan plan = plan_of(layer, steps.end - steps.begin, loops.count, false, sizeof(T));
    const cuda::Host host = host_of("forward", *given[0].rows, arrived, stream);
    const py::gil_scoped_release released;
    cuda::forward<T>(layer.cell, loops, plan, host);
  });
}

void backward(const std::string& cell, const std::string& dtype, bool tf32, int64_t hidden, int64_t outputs,
              const std::vector<BackwardArrays>& given, const py::object& arrived, uintptr_t stream) {
  const Common layer = common_of("backward", cell, tf32, hidden, outputs, given);
  with_type("cuda: dtype", dtype, [&](auto zero) {
    using T = decltype(zero);
    cuda::Directions<cuda::BackwardLoop<T>> loops{};
    for (const BackwardArrays& direction : given) loops.of[loops.count++] = backward_of<T>(layer, direction);
    const Steps& steps = given[0].steps;
    const cuda::Plan plan = plan_of(layer, steps.end - steps.begin, loops.count, true, sizeof(T));
    for (int d = 0; d < loops.count; ++d)
      if (plan.tensor && loops.of[d].w_hh_turned == nullptr)
        throw py::value_error("backward: w_hh_turned must be given where products run on tensor cores");
    const cuda::Host host = host_of("backward", *given[0].rows, arrived, stream);
    const py::gil_scoped_release released;
    cuda::backward<T>(layer.cell, loops, plan, host);
  });
}

std::optional<std::string> plan(const std::string& cell, const std::string& dtype, bool tf32, int64_t steps,
                                int64_t rows, int64_t hidden, int64_t outputs, int directions, bool backward) {
  const Common layer{cell_index(cell), tf32, {steps, rows, 1, hidden, outputs}, hidden != outputs};
  const int bytes = with_type("cuda: dtype", dtype, [](auto zero) { return static_cast<int>(sizeof zero); });
  const cuda::Plan found = plan_of(layer, steps, directions, backward, bytes);
  return found.directions == directions ? std::optional(cuda::describe(found)) : std::nullopt;
}

}  // namespace

void bind_loops(py::module_& module) {
  py::class_<DeviceRows>(module, "Rows", "When the rows of a batch live, in one direction.")
      .def(py::init<int64_t, int64_t, bool, bool, const py::object&, const py::object&, const py::object&,
                    std::vector<int64_t>, const py::object&>(),
           py::arg("steps"), py::arg("rows"), py::arg("reverse"), py::arg("batch_major"), py::arg("row"),
           py::arg("length"), py::arg("first"), py::arg("first_on_host"), py::arg("reset"))
      .def("places", &DeviceRows::places, py::arg("begin"), py::arg("end"));
  py::class_<Steps>(module, "Steps", "What a call computes of a loop, and of which steps it has what forward keeps.")
      .def(py::init<int64_t, int64_t, bool, int64_t, int64_t>(), py::arg("begin"), py::arg("end"), py::arg("enters"),
           py::arg("saved_begin"), py::arg("saved_end"));
  py::class_<ForwardArrays>(module, "ForwardArrays", "What the forward loop of one direction reads and writes.")
      .def(py::init([](const DeviceRows& rows, const Steps& steps, py::object gx, py::tuple weights, py::tuple state_in,
                       py::object y, py::tuple state_out, py::object saved, py::object raw, py::tuple running) {
             return ForwardArrays{&rows, steps, gx, weights, state_in, y, state_out, saved, raw, running};
           }),
           py::keep_alive<1, 2>(), py::arg("rows"), py::arg("steps"), py::arg("gx"), py::arg("weights"),
           py::arg("state_in"), py::arg("y"), py::arg("state_out"), py::arg("saved"), py::arg("raw"),
           py::arg("running"));
  py::class_<BackwardArrays>(module, "BackwardArrays", "What the backward loop of one direction reads and writes.")
      .def(py::init([](const DeviceRows& rows, const Steps& steps, py::tuple weights, py::object w_hh_turned,
                       py::tuple state_in, py::object y, py::tuple saved, py::object dy, py::tuple dstate_out,
                       py::tuple dstate_in, py::tuple gradients, py::tuple running) {
             return BackwardArrays{&rows, steps, weights,    w_hh_turned, state_in,  y,
                                   saved, dy,    dstate_out, dstate_in,   gradients, running};
           }),
           py::keep_alive<1, 2>(), py::arg("rows"), py::arg("steps"), py::arg("weights"), py::arg("w_hh_turned"),
           py::arg("state_in"), py::arg("y"), py::arg("saved"), py::arg("dy"), py::arg("dstate_out"),
           py::arg("dstate_in"), py::arg("gradients"), py::arg("running"));
  module.def("forward", &forward, py::arg("cell"), py::arg("dtype"), py::arg("tf32"), py::arg("hidden"),
             py::arg("outputs"), py::arg("directions"), py::arg("arrived"), py::arg("stream"),
             "Queue the forward loop of one layer, in one direction or in both, on a stream.");
  module.def("backward", &backward, py::arg("cell"), py::arg("dtype"), py::arg("tf32"), py::arg("hidden"),
             py::arg("outputs"), py::arg("directions"), py::arg("arrived"), py::arg("stream"),
             "Queue the backward loop of one layer, in one direction or in both, on a stream.");
  module.def("plan", &plan, py::arg("cell"), py::arg("dtype"), py::arg("tf32"), py::arg("steps"), py::arg("rows"),
             py::arg("hidden"), py::arg("outputs"), py::arg("directions"), py::arg("backward"),
             "What would run on the current GPU, in words; None where so many directions do not run together.");
  module.def(
      "arrived_numbers", [] { return cuda::arrived_numbers(cuda::current_device()); },
      "How long the array `arrived` is on the current GPU.");
}

}  // namespace fusedrnn::python
