#include "problems.h"

#include <string>
#include <type_traits>

#include "contract/checked.h"
#include "intake.h"

namespace fusedrnn::python {
namespace {

// The arguments of one layer.
template <class T>
class Intake {
 public:
  explicit Intake(const cpu::PackedLayer<T>& packed) : packed_(packed), info_(kCells[packed.cell()]) {}

  ForwardProblem<T> forward(const py::tuple& arguments) const {
    constexpr const char* kName = "forward";
    if (arguments.size() != 10)
      throw py::type_error("forward: takes x, ids, state_in, lengths, reset, reverse, y, state_out, saved, segment");
    const py::object x = arguments[0], ids = arguments[1], lengths = arguments[3], reset = arguments[4];
    const py::object y = arguments[6], saved = arguments[8];
    const auto state_in = py::cast<py::tuple>(arguments[2]), state_out = py::cast<py::tuple>(arguments[7]);
    const bool reverse = py::cast<bool>(arguments[5]);
    const auto segment = py::cast<int64_t>(arguments[9]);
    ForwardProblem<T> p{};
    p.sizes = sizes_of(kName, x, ids);
    const auto [T_, B, I, H, P] = p.sizes;
    p.x = sequence<const T>(x, {kName, "x", "(T, B, I)", {T_, B, I}});
    p.ids = sequence<const int64_t>(ids, {kName, "ids", "(T, B)", {T_, B}});
    p.extent = extent(kName, p.sizes, lengths, reset, reverse);
    p.y = sequence<T>(y, {kName, "y", "(T, B, P)", {T_, B, P}});
    present(p.y.data, kName, "y");
    states<const T>(kName, "state_in", p.sizes, state_in, p.state_in);
    states<T>(kName, "state_out", p.sizes, state_out, p.state_out);
    for (int k = 0; k < info_.states; ++k) present(p.state_out[k], kName, "state_out");
    if (!saved.is_none()) keep(kName, p, py::cast<py::tuple>(saved), segment);
    p.keep = !saved.is_none() && segment == 0;
    return p;
  }

  BackwardProblem<T> backward(const py::tuple& arguments) const {
    constexpr const char* kName = "backward";
    if (arguments.size() != 14)
      throw py::type_error(
          "backward: takes x, ids, state_in, lengths, reset, reverse, y, saved, segment, dy, dstate_out, dx, "
          "dstate_in, gradients");
    const py::object x = arguments[0], ids = arguments[1], lengths = arguments[3], reset = arguments[4];
    const py::object y = arguments[6], dy = arguments[9], dx = arguments[11];
    const auto state_in = py::cast<py::tuple>(arguments[2]), saved = py::cast<py::tuple>(arguments[7]);
    const auto dstate_out = py::cast<py::tuple>(arguments[10]), dstate_in = py::cast<py::tuple>(arguments[12]);
    const auto gradients = py::cast<py::tuple>(arguments[13]);
    const bool reverse = py::cast<bool>(arguments[5]);
    const auto segment = py::cast<int64_t>(arguments[8]);
    BackwardProblem<T> p{};
    p.sizes = sizes_of(kName, x, ids);
    const auto [T_, B, I, H, P] = p.sizes;
    const int64_t gates = info_.gates * H;
    p.x = sequence<const T>(x, {kName, "x", "(T, B, I)", {T_, B, I}});
    p.ids = sequence<const int64_t>(ids, {kName, "ids", "(T, B)", {T_, B}});
    p.extent = extent(kName, p.sizes, lengths, reset, reverse);
    p.y = sequence<const T>(y, {kName, "y", "(T, B, P)", {T_, B, P}});
    present(p.y.data, kName, "y");
    keep(kName, p, saved, segment);
    p.dy = sequence<const T>(dy, {kName, "dy", "(T, B, P)", {T_, B, P}});
    p.dx = sequence<T>(dx, {kName, "dx", "(T, B, I)", {T_, B, I}});
    states<const T>(kName, "state_in", p.sizes, state_in, p.state_in);
    states<const T>(kName, "dstate_out", p.sizes, dstate_out, p.dstate_out);
    states<T>(kName, "dstate_in", p.sizes, dstate_in, p.dstate_in);
    for (int k = 0; k < info_.states; ++k) present(p.dstate_in[k], kName, "dstate_in");
    if (gradients.size() != 5) throw py::value_error("backward: gradients must be five arrays or Nones");
    const Weights<T>& w = packed_.weights();
    p.dw_ih = present(dense<T>(gradients[0], {kName, "dw_ih", "(G*H, I)", {gates, I}}), kName, "dw_ih");
    p.dw_hh = present(dense<T>(gradients[1], {kName, "dw_hh", "(G*H, P)", {gates, P}}), kName, "dw_hh");
    if (w.b_ih) p.db_ih = present(dense<T>(gradients[2], {kName, "db_ih", "(G*H,)", {gates}}), kName, "db_ih");
    if (w.b_hh) p.db_hh = present(dense<T>(gradients[3], {kName, "db_hh", "(G*H,)", {gates}}), kName, "db_hh");
    if (w.w_hr) p.dw_hr = present(dense<T>(gradients[4], {kName, "dw_hr", "(P, H)", {P, H}}), kName, "dw_hr");
    return p;
  }

 private:
  Sizes sizes_of(const char* function, const py::object& x, const py::object& ids) const {
    Sizes sizes = packed_.sizes();
    const py::object& input = ids.is_none() ? x : ids;
    if (!x.is_none() && !ids.is_none())
      throw py::value_error(std::string(function) + ": x and ids must not both be given");
    if (!py::isinstance<py::array>(input) || py::cast<py::array>(input).ndim() != (ids.is_none() ? 3 : 2))
      throw py::type_error(std::string(function) + ": x must be a (T, B, I) array, or ids a (T, B) array");
    const auto array = py::cast<py::array>(input);
    sizes.T = array.shape(0), sizes.B = array.shape(1);
    const int64_t gates = info_.gates + 2;
    checked_product({sizes.T, sizes.B, gates, 2 * (sizes.I + sizes.H + sizes.P + 64), static_cast<int64_t>(sizeof(T))});
    if (!ids.is_none()) {
      const auto ids_at = sequence<const int64_t>(ids, {function, "ids", "(T, B)", {sizes.T, sizes.B}});
      for (int64_t t = 0; t < sizes.T; ++t)
        for (int64_t b = 0; b < sizes.B; ++b)
          if (*ids_at.at(t, b) < 0 || *ids_at.at(t, b) >= sizes.I)
            throw py::value_error(std::string(function) + ": ids must be in [0, I) = [0, " + std::to_string(sizes.I) +
                                  "), got " + std::to_string(*ids_at.at(t, b)) + " at t = " + std::to_string(t) +
                                  ", b = " + std::to_string(b));
    }
    return sizes;
  }

  Extent extent(const char* function, const Sizes& sizes, const py::object& lengths, const py::object& reset,
                bool reverse) const {
    Extent extent;
    extent.reverse = reverse;
    extent.lengths = dense<const int64_t>(lengths, {function, "lengths", "(B,)", {sizes.B}});
    for (int64_t b = 0; extent.lengths != nullptr && b < sizes.B; ++b)
      if (extent.lengths[b] < 0 || extent.lengths[b] > sizes.T)
        throw py::value_error(std::string(function) + ": lengths must be in [0, T] = [0, " + std::to_string(sizes.T) +
                              "], got " + std::to_string(extent.lengths[b]) + " at b = " + std::to_string(b));
    extent.reset = sequence<const uint8_t>(reset, {function, "reset", "(T, B)", {sizes.T, sizes.B}});
    return extent;
  }

  template <class E>
  void states(const char* function, const char* name, const Sizes& sizes, const py::tuple& arrays, E** out) const {
    if (static_cast<int>(arrays.size()) != info_.states)
      throw py::value_error(std::string(function) + ": " + name + " must have " + std::to_string(info_.states) +
                            " arrays or Nones, got " + std::to_string(arrays.size()));
    for (int k = 0; k < info_.states; ++k)
      out[k] =
          dense<E>(arrays[k], {function, name, k == 0 ? "(B, P)" : "(B, H)", {sizes.B, k == 0 ? sizes.P : sizes.H}});
  }

  // What forward keeps: everything, or with segment > 0 the states that enter segments of so many steps.
  template <class Problem>
  void keep(const char* function, Problem& p, const py::tuple& arrays, int64_t segment) const {
    using E = std::remove_pointer_t<decltype(p.saved.gates)>;
    const Sizes& s = p.sizes;
    if (arrays.size() != 3) throw py::value_error(std::string(function) + ": saved must be three arrays or Nones");
    if (segment < 0)
      throw py::value_error(std::string(function) + ": segment must be at least 0, got " + std::to_string(segment));
    if (segment > 0) {
      const int64_t others = s.T == 0 ? 0 : (s.T - 1) / segment;
      p.checkpoints.steps = segment;
      p.checkpoints.states =
          dense<E>(arrays[1], {function, "saved states", "(N, S - 1, B, H)", {others, info_.states - 1, s.B, s.H}});
      if (info_.states > 1) present(p.checkpoints.states, function, "saved states");
      return;
    }
    p.saved.gates = dense<E>(arrays[0], {function, "saved gates", "(T, B, K, H)", {s.T, s.B, info_.saved, s.H}});
    p.saved.states =
        dense<E>(arrays[1], {function, "saved states", "(T, B, S - 1, H)", {s.T, s.B, info_.states - 1, s.H}});
    p.saved.raw = dense<E>(arrays[2], {function, "saved raw", "(T, B, H)", {s.T, s.B, s.H}});
    if (info_.saved > 0) present(p.saved.gates, function, "saved gates");
    if (info_.states > 1) present(p.saved.states, function, "saved states");
    if (packed_.weights().w_hr) present(p.saved.raw, function, "saved raw");
  }

  const cpu::PackedLayer<T>& packed_;
  const CellInfo& info_;
};

}  // namespace

template <class T>
ForwardProblem<T> forward_problem(const cpu::PackedLayer<T>& layer, const py::tuple& arguments) {
  return Intake<T>(layer).forward(arguments);
}

template <class T>
BackwardProblem<T> backward_problem(const cpu::PackedLayer<T>& layer, const py::tuple& arguments) {
  return Intake<T>(layer).backward(arguments);
}

template ForwardProblem<float> forward_problem(const cpu::PackedLayer<float>&, const py::tuple&);
template ForwardProblem<double> forward_problem(const cpu::PackedLayer<double>&, const py::tuple&);
template BackwardProblem<float> backward_problem(const cpu::PackedLayer<float>&, const py::tuple&);
template BackwardProblem<double> backward_problem(const cpu::PackedLayer<double>&, const py::tuple&);

}  // namespace fusedrnn::python
