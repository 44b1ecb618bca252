// The recurrent loops for Python: fusedrnn._cuda.Rows says when the rows live, forward and backward run over them.
#include <cstdlib>
#include <vector>

#include "cells/registry.h"
#include "cuda/backend.h"
#include "cuda/bindings.h"
#include "cuda/intake.h"

namespace fusedrnn::python {
namespace {

using cuda::Rows;

int cell_index(const std::string& name) {
  for (int index = 0; index < kCellCount; ++index)
    if (name == kCells[index].name) return index;
  throw py::value_error("cuda: cell must be one of this build's, got '" + name + "'");
}

// Rows of one batch in one direction; keeps the arrays alive that it points to.
class DeviceRows {
 public:
  DeviceRows(int64_t steps, int64_t rows, bool reverse, bool batch_major, const py::object& row,
             const py::object& length, const py::object& first, std::vector<int64_t> first_on_host,
             const py::object& reset)
      : arrays_(py::make_tuple(row, length, first, reset)), first_(std::move(first_on_host)) {
    constexpr const char* kName = "Rows";
    if (steps < 0 || rows < 0) throw py::value_error("Rows: steps and rows must be >= 0");
    rows_.steps = steps, rows_.rows = rows, rows_.reverse = reverse, rows_.batch_major = batch_major;
    rows_.row = dense<const int64_t>(row, {kName, "row", "(B,)", {rows}});
    rows_.length = dense<const int64_t>(length, {kName, "length", "(B,)", {rows}});
    rows_.first = dense<const int64_t>(first, {kName, "first", "(T + 1,)", {steps + 1}});
    rows_.reset = sequence<const uint8_t>(reset, {kName, "reset", "(T, B)", {steps, rows}});
    const bool all = rows_.row != nullptr && rows_.length != nullptr && rows_.first != nullptr;
    const bool none = row.is_none() && length.is_none() && first.is_none();
    if (!(all && first_.size() == static_cast<size_t>(steps) + 1) && !(none && first_.empty()))
      throw py::value_error("Rows: row, length, first and first_on_host must all be given, or none of them");
    for (size_t s = 0; s + 1 < first_.size(); ++s)
      if (first_[s + 1] - first_[s] < 0 || first_[s + 1] - first_[s] > rows)
        throw py::value_error("Rows: first must rise by at most B a step");
  }

  bool packed() const { return rows_.first != nullptr; }

  // The places of the steps [begin, end), from the first one to before the last.
  std::pair<int64_t, int64_t> places(int64_t begin, int64_t end) const {
    const int64_t T = rows_.steps, B = rows_.rows;
    const std::string came = ", got " + std::to_string(begin) + " and " + std::to_string(end);
    if (begin < 0 || begin > end || end > T)
      throw py::value_error("Rows: begin and end must rise in [0, T] = [0, " + std::to_string(T) + "]" + came);
    if (packed()) return {first_[begin], first_[end]};
    if (!rows_.batch_major) return {(rows_.reverse ? T - end : begin) * B, (rows_.reverse ? T - begin : end) * B};
    if (begin != 0 || end != T)
      throw py::value_error("Rows: begin and end must be 0 and T = " + std::to_string(T) + " for batch-major places" +
                            came);
    return {0, T * B};
  }

  const int64_t* first() const { return packed() ? first_.data() : nullptr; }
  const Rows& view() const { return rows_; }

 private:
  Rows rows_{};
  py::tuple arrays_;
  std::vector<int64_t> first_;
};

// The steps of a call and of what is kept, as Python gives them.
struct Steps {
  int64_t begin, end;
  bool enters;
  int64_t saved_begin, saved_end;

  cuda::Part part(const DeviceRows& rows) const {
    if (begin < saved_begin || end > saved_end)
      throw py::value_error("Steps: begin and end must lie in those of the saved, [" + std::to_string(saved_begin) +
                            ", " + std::to_string(saved_end) + "], got " + std::to_string(begin) + " and " +
                            std::to_string(end));
    return {begin, end, enters, rows.places(begin, end).first, saved_begin, rows.places(saved_begin, saved_end).first};
  }
};

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

// FUSEDRNN_GRAPHS: whether tier step queues its launches as graphs.
bool graphs_wanted() {
  const char* value = std::getenv("FUSEDRNN_GRAPHS");
  const std::string word = value == nullptr ? "1" : value;
  if (word != "0" && word != "1") throw py::value_error("FUSEDRNN_GRAPHS must be one of 0, 1, got '" + word + "'");
  return word == "1";
}

// The plan of `steps` steps on the current GPU, or the one whose tier FUSEDRNN_TIER names.
cuda::Plan plan_of(int cell, int64_t steps, const Sizes& sizes, bool projection, bool backward, int element_bytes) {
  const int gates = kCells[cell].gates;
  cuda::PlanInput input{steps, sizes.B, sizes.H, sizes.P, gates, element_bytes, projection};
  if (backward) input = {steps, sizes.B, sizes.P, gates * sizes.H, 1, element_bytes, projection};
  input.graphs = graphs_wanted();
  const char* tier = std::getenv("FUSEDRNN_TIER");
  return cuda::make_plan(cuda::current_device(), input, tier == nullptr ? "" : tier);
}

template <class T>
void forward_of(int cell, const DeviceRows& rows, const Steps& steps, const py::object& gx, const py::tuple& weights,
                Sizes sizes, const py::tuple& state_in, const py::object& y, const py::tuple& state_out,
                const py::object& saved, const py::object& raw, const py::tuple& running, const py::object& arrived,
                uintptr_t stream) {
  constexpr const char* kName = "forward";
  const CellInfo& info = kCells[cell];
  const auto [T_, B, I, H, P] = sizes;
  const int64_t gates = info.gates * H;
  cuda::ForwardLoop<T> loop{};
  loop.sizes = sizes;
  loop.rows = rows.view();
  loop.part = steps.part(rows);
  const DeviceRule hh_rule{kName, "w_hh", "(G*H, P)", {gates, P}};
  loop.gx = by_place<const T>(gx, kName, "gx", rows, steps.begin, steps.end, gates);
  loop.w_hh = present(dense<const T>(weights[0], hh_rule), hh_rule);
  loop.b_ih = dense<const T>(weights[1], {kName, "b_ih", "(G*H,)", {gates}});
  loop.b_hh = dense<const T>(weights[2], {kName, "b_hh", "(G*H,)", {gates}});
  loop.w_hr = dense<const T>(weights[3], {kName, "w_hr", "(P, H)", {P, H}});
  const DeviceRule y_rule{kName, "y", "(T, B, P)", {T_, B, P}}, raw_rule{kName, "raw", "(B, H)", {B, H}};
  loop.y = sequence<T>(y, y_rule);
  present(loop.y.data, y_rule);
  states<T>(kName, "state_in", sizes, info.states, state_in, loop.state_in);
  states<T>(kName, "state_out", sizes, info.states, state_out, loop.state_out);
  for (int k = 0; k < info.states; ++k) present(loop.state_out[k], {kName, "state_out", "", {}});
  running_states<T>(kName, sizes, info.states, running, loop.state_out, loop.running);
  if (!saved.is_none())
    loop.saved = kept<T>(kName, info, sizes, rows, steps, loop.w_hr != nullptr, py::cast<py::tuple>(saved));
  loop.raw = dense<T>(raw, raw_rule);
  if (loop.w_hr != nullptr && loop.saved.raw == nullptr) present(loop.raw, raw_rule);
  const cuda::Plan plan = plan_of(cell, steps.end - steps.begin, sizes, loop.w_hr != nullptr, false, sizeof(T));
  const cuda::Host host = host_of(kName, rows, arrived, stream);
  const py::gil_scoped_release released;
  cuda::forward<T>(cell, loop, plan, host);
}

template <class T>
void backward_of(int cell, const DeviceRows& rows, const Steps& steps, const py::tuple& weights, Sizes sizes,
                 const py::tuple& state_in, const py::object& y, const py::tuple& saved, const py::object& dy,
                 const py::tuple& dstate_out, const py::tuple& dstate_in, const py::tuple& gradients,
                 const py::tuple& running, const py::object& arrived, uintptr_t stream) {
  constexpr const char* kName = "backward";
  const CellInfo& info = kCells[cell];
  const auto [T_, B, I, H, P] = sizes;
  const int64_t gates = info.gates * H;
  cuda::BackwardLoop<T> loop{};
  loop.sizes = sizes;
  loop.rows = rows.view();
  loop.part = steps.part(rows);
  const DeviceRule hh_rule{kName, "w_hh", "(G*H, P)", {gates, P}}, y_rule{kName, "y", "(T, B, P)", {T_, B, P}};
  loop.w_hh = present(dense<const T>(weights[0], hh_rule), hh_rule);
  loop.w_hr = dense<const T>(weights[3], {kName, "w_hr", "(P, H)", {P, H}});
  loop.y = sequence<const T>(y, y_rule);
  present(loop.y.data, y_rule);
  loop.saved = kept<const T>(kName, info, sizes, rows, steps, loop.w_hr != nullptr, saved);
  loop.dy = sequence<const T>(dy, {kName, "dy", "(T, B, P)", {T_, B, P}});
  states<T>(kName, "state_in", sizes, info.states, state_in, loop.state_in);
  states<T>(kName, "dstate_out", sizes, info.states, dstate_out, loop.dstate_out);
  states<T>(kName, "dstate_in", sizes, info.states, dstate_in, loop.dstate_in);
  for (int k = 0; k < info.states; ++k) present(loop.dstate_in[k], {kName, "dstate_in", "", {}});
  running_states<T>(kName, sizes, info.states, running, loop.dstate_in, loop.running);
  const auto made = [&](int which, const char* name, int64_t columns) {
    return by_place<T>(gradients[which], kName, name, rows, steps.begin, steps.end, columns);
  };
  loop.dgx = made(0, "dgx", gates);
  loop.dgh = info.one_gate_gradient ? loop.dgx : made(1, "dgh", gates);
  loop.before = made(2, "before", P);
  if (loop.w_hr != nullptr) loop.doutput = made(3, "doutput", P);
  const cuda::Plan plan = plan_of(cell, steps.end - steps.begin, sizes, loop.w_hr != nullptr, true, sizeof(T));
  const cuda::Host host = host_of(kName, rows, arrived, stream);
  const py::gil_scoped_release released;
  cuda::backward<T>(cell, loop, plan, host);
}

// The sizes that the shapes of w_hh and y state.
Sizes sizes_of(int cell, const DeviceRows& rows, int64_t hidden, int64_t outputs) {
  if (hidden < 1 || outputs < 1) throw py::value_error("cuda: H and P must be at least 1");
  if (!kCells[cell].projects && hidden != outputs) throw py::value_error("cuda: P must be H without a projection");
  return {rows.view().steps, rows.view().rows, 1, hidden, outputs};
}

void forward(const std::string& cell, const std::string& dtype, int64_t hidden, int64_t outputs, const DeviceRows& rows,
             const Steps& steps, const py::object& gx, const py::tuple& weights, const py::tuple& state_in,
             const py::object& y, const py::tuple& state_out, const py::object& saved, const py::object& raw,
             const py::tuple& running, const py::object& arrived, uintptr_t stream) {
  const int index = cell_index(cell);
  const Sizes sizes = sizes_of(index, rows, hidden, outputs);
  if (weights.size() != 4) throw py::value_error("forward: weights must be w_hh, b_ih, b_hh and w_hr");
  with_type("cuda: dtype", dtype, [&](auto zero) {
    forward_of<decltype(zero)>(index, rows, steps, gx, weights, sizes, state_in, y, state_out, saved, raw, running,
                               arrived, stream);
  });
}

void backward(const std::string& cell, const std::string& dtype, int64_t hidden, int64_t outputs,
              const DeviceRows& rows, const Steps& steps, const py::tuple& weights, const py::tuple& state_in,
              const py::object& y, const py::tuple& saved, const py::object& dy, const py::tuple& dstate_out,
              const py::tuple& dstate_in, const py::tuple& gradients, const py::tuple& running,
              const py::object& arrived, uintptr_t stream) {
  const int index = cell_index(cell);
  const Sizes sizes = sizes_of(index, rows, hidden, outputs);
  if (weights.size() != 4) throw py::value_error("backward: weights must be w_hh, b_ih, b_hh and w_hr");
  if (gradients.size() != 4) throw py::value_error("backward: gradients must be dgx, dgh, before and doutput");
  with_type("cuda: dtype", dtype, [&](auto zero) {
    backward_of<decltype(zero)>(index, rows, steps, weights, sizes, state_in, y, saved, dy, dstate_out, dstate_in,
                                gradients, running, arrived, stream);
  });
}

std::string plan(const std::string& cell, const std::string& dtype, int64_t steps, int64_t rows, int64_t hidden,
                 int64_t outputs, bool backward) {
  const int index = cell_index(cell);
  const Sizes sizes{steps, rows, 1, hidden, outputs};
  const int bytes = with_type("cuda: dtype", dtype, [](auto zero) { return static_cast<int>(sizeof zero); });
  return cuda::describe(plan_of(index, steps, sizes, hidden != outputs, backward, bytes));
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
  module.def("forward", &forward, py::arg("cell"), py::arg("dtype"), py::arg("hidden"), py::arg("outputs"),
             py::arg("rows"), py::arg("steps"), py::arg("gx"), py::arg("weights"), py::arg("state_in"), py::arg("y"),
             py::arg("state_out"), py::arg("saved"), py::arg("raw"), py::arg("running"), py::arg("arrived"),
             py::arg("stream"), "Queue the forward loop of one layer and direction on a stream.");
  module.def("backward", &backward, py::arg("cell"), py::arg("dtype"), py::arg("hidden"), py::arg("outputs"),
             py::arg("rows"), py::arg("steps"), py::arg("weights"), py::arg("state_in"), py::arg("y"), py::arg("saved"),
             py::arg("dy"), py::arg("dstate_out"), py::arg("dstate_in"), py::arg("gradients"), py::arg("running"),
             py::arg("arrived"), py::arg("stream"), "Queue the backward loop of one layer and direction on a stream.");
  module.def("plan", &plan, py::arg("cell"), py::arg("dtype"), py::arg("steps"), py::arg("rows"), py::arg("hidden"),
             py::arg("outputs"), py::arg("backward"), "What would run on the current GPU, in words.");
  module.def(
      "arrived_numbers", [] { return cuda::arrived_numbers(cuda::current_device()); },
      "How long the array `arrived` is on the current GPU.");
}

}  // namespace fusedrnn::python
