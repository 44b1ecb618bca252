// One layer in one direction for Python: fusedrnn._core.pack(...) gives a Layer32 or Layer64.
#include "bindings.h"
#include "cpu/backend.h"
#include "cpu/kernels.h"
#include "intake.h"
#include "packed.h"

namespace fusedrnn::python {
namespace {

int cell_index(const std::string& name) {
  std::string names;
  for (int index = 0; index < kCellCount; ++index) {
    if (name == kCells[index].name) return index;
    names.append(index ? ", " : "").append(kCells[index].name);
  }
  throw py::value_error("pack: cell must be one of " + names + ", got '" + name + "'");
}

// The packed weights, and the arrays that they were packed from, which backward reads again.
template <class T>
class Layer : public Packed<T> {
  using Packed<T>::packed_;

 public:
  Layer(int cell, const Sizes& sizes, const Weights<T>& weights, py::tuple arrays)
      : Packed<T>{{cell, sizes, weights}}, arrays_(std::move(arrays)) {}

  void forward(const py::args& arguments) const {
    const ForwardProblem<T> problem = forward_problem(arguments);
    const py::gil_scoped_release released;
    packed_.forward(problem);
  }

  void backward(const py::args& arguments) const {
    const BackwardProblem<T> problem = backward_problem(arguments);
    const py::gil_scoped_release released;
    packed_.backward(problem);
  }

  void forward_with(const py::tuple& arguments, const Layer& other, const py::tuple& its) const {
    const ForwardProblem<T> problem = forward_problem(arguments), beside = other.forward_problem(its);
    check_same("forward_with", problem.sizes, beside.sizes);
    const py::gil_scoped_release released;
    packed_.forward_with(problem, other.packed_, beside);
  }

  void backward_with(const py::tuple& arguments, const Layer& other, const py::tuple& its) const {
    const BackwardProblem<T> problem = backward_problem(arguments), beside = other.backward_problem(its);
    check_same("backward_with", problem.sizes, beside.sizes);
    const py::gil_scoped_release released;
    packed_.backward_with(problem, other.packed_, beside);
  }

  static void forward_wave(const py::list& objects, const py::list& arguments) {
    const std::vector<const Layer*> layers = layers_of(objects);
    std::vector<ForwardProblem<T>> problems;
    for (size_t i = 0; i < layers.size(); ++i)
      problems.push_back(layers[i]->forward_problem(py::cast<py::tuple>(py::object(arguments[i]))));
    check_chain("forward_wave", problems);
    const py::gil_scoped_release released;
    cpu::PackedLayer<T>::forward_wave(packed(layers), problems);
  }

  static void backward_wave(const py::list& objects, const py::list& arguments) {
    const std::vector<const Layer*> layers = layers_of(objects);
    std::vector<BackwardProblem<T>> problems;
    for (size_t i = 0; i < layers.size(); ++i)
      problems.push_back(layers[i]->backward_problem(py::cast<py::tuple>(py::object(arguments[i]))));
    check_chain("backward_wave", problems);
    const py::gil_scoped_release released;
    cpu::PackedLayer<T>::backward_wave(packed(layers), problems);
  }

  static py::list plans_of_wave(const py::list& objects, int64_t T_, int64_t B, bool backward) {
    const std::vector<const Layer*> layers = layers_of(objects);
    std::vector<Sizes> sizes;
    for (const Layer* layer : layers) sizes.push_back(layer->sizes_for(T_, B));
    py::list texts;
    for (const std::optional<cpu::Plan>& plan : cpu::PackedLayer<T>::plans_of_wave(packed(layers), sizes, backward))
      texts.append(plan ? py::object(py::str(cpu::describe(*plan, backward))) : py::none());
    return texts;
  }

  int64_t segment_steps(int64_t T_, int64_t B, int64_t every) const {
    return packed_.segment_steps(sizes_for(T_, B), every);
  }

  std::string plan(int64_t T_, int64_t B, bool backward) const {
    return cpu::describe(packed_.plan(sizes_for(T_, B), backward), backward);
  }

  // None where the directions run one after the other.
  py::object plan_of_half(int64_t T_, int64_t B, bool backward) const {
    const std::optional<cpu::Plan> plan = packed_.plan_of_half(sizes_for(T_, B), backward);
    return plan ? py::object(py::str(cpu::describe(*plan, backward))) : py::none();
  }

 private:
  const CellInfo& info() const { return kCells[packed_.cell()]; }

  Sizes sizes_for(int64_t T_, int64_t B) const {
    Sizes sizes = packed_.sizes();
    sizes.T = T_, sizes.B = B;
    return sizes;
  }

  static std::vector<const Layer*> layers_of(const py::list& objects) {
    std::vector<const Layer*> layers;
    for (const py::handle& object : objects) layers.push_back(py::cast<const Layer*>(object));
    return layers;
  }
  static std::vector<const cpu::PackedLayer<T>*> packed(const std::vector<const Layer*>& layers) {
    std::vector<const cpu::PackedLayer<T>*> all;
    for (const Layer* layer : layers) all.push_back(&layer->packed_);
    return all;
  }

  // x of a layer is y of the one before it, or dy dx.
  static void check_chain(const char* function, const std::vector<ForwardProblem<T>>& problems) {
    for (size_t i = 1; i < problems.size(); ++i)
      if (problems[i].x.data != problems[i - 1].y.data) chain_is_broken(function);
  }
  static void check_chain(const char* function, const std::vector<BackwardProblem<T>>& problems) {
    for (size_t i = 1; i < problems.size(); ++i)
      if (problems[i].dy.data != problems[i - 1].dx.data) chain_is_broken(function);
  }
  [[noreturn]] static void chain_is_broken(const char* function) {
    throw py::value_error(std::string(function) + ": each layer must read what the one before it writes");
  }

  static void check_same(const char* function, const Sizes& a, const Sizes& b) {
    if (a.T != b.T || a.B != b.B || a.I != b.I || a.H != b.H || a.P != b.P)
      throw py::value_error(std::string(function) + ": both directions must have the same sizes");
  }

  ForwardProblem<T> forward_problem(const py::tuple& arguments) const {
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
    for (int k = 0; k < info().states; ++k) present(p.state_out[k], kName, "state_out");
    if (!saved.is_none()) keep(kName, p, py::cast<py::tuple>(saved), segment);
    p.keep = !saved.is_none() && segment == 0;
    return p;
  }

  BackwardProblem<T> backward_problem(const py::tuple& arguments) const {
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
    const int64_t gates = info().gates * H;
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
    for (int k = 0; k < info().states; ++k) present(p.dstate_in[k], kName, "dstate_in");
    if (gradients.size() != 5) throw py::value_error("backward: gradients must be five arrays or Nones");
    const Weights<T>& w = packed_.weights();
    p.dw_ih = present(dense<T>(gradients[0], {kName, "dw_ih", "(G*H, I)", {gates, I}}), kName, "dw_ih");
    p.dw_hh = present(dense<T>(gradients[1], {kName, "dw_hh", "(G*H, P)", {gates, P}}), kName, "dw_hh");
    if (w.b_ih) p.db_ih = present(dense<T>(gradients[2], {kName, "db_ih", "(G*H,)", {gates}}), kName, "db_ih");
    if (w.b_hh) p.db_hh = present(dense<T>(gradients[3], {kName, "db_hh", "(G*H,)", {gates}}), kName, "db_hh");
    if (w.w_hr) p.dw_hr = present(dense<T>(gradients[4], {kName, "dw_hr", "(P, H)", {P, H}}), kName, "dw_hr");
    return p;
  }

  Sizes sizes_of(const char* function, const py::object& x, const py::object& ids) const {
    Sizes sizes = packed_.sizes();
    const py::object& input = ids.is_none() ? x : ids;
    if (!x.is_none() && !ids.is_none())
      throw py::value_error(std::string(function) + ": x and ids must not both be given");
    if (!py::isinstance<py::array>(input) || py::cast<py::array>(input).ndim() != (ids.is_none() ? 3 : 2))
      throw py::type_error(std::string(function) + ": x must be a (T, B, I) array, or ids a (T, B) array");
    const auto array = py::cast<py::array>(input);
    sizes.T = array.shape(0), sizes.B = array.shape(1);
    const int64_t gates = info().gates + 2;
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
    if (static_cast<int>(arrays.size()) != info().states)
      throw py::value_error(std::string(function) + ": " + name + " must have " + std::to_string(info().states) +
                            " arrays or Nones, got " + std::to_string(arrays.size()));
    for (int k = 0; k < info().states; ++k)
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
          dense<E>(arrays[1], {function, "saved states", "(N, S - 1, B, H)", {others, info().states - 1, s.B, s.H}});
      if (info().states > 1) present(p.checkpoints.states, function, "saved states");
      return;
    }
    p.saved.gates = dense<E>(arrays[0], {function, "saved gates", "(T, B, K, H)", {s.T, s.B, info().saved, s.H}});
    p.saved.states =
        dense<E>(arrays[1], {function, "saved states", "(T, B, S - 1, H)", {s.T, s.B, info().states - 1, s.H}});
    p.saved.raw = dense<E>(arrays[2], {function, "saved raw", "(T, B, H)", {s.T, s.B, s.H}});
    if (info().saved > 0) present(p.saved.gates, function, "saved gates");
    if (info().states > 1) present(p.saved.states, function, "saved states");
    if (packed_.weights().w_hr) present(p.saved.raw, function, "saved raw");
  }

  py::tuple arrays_;
};

template <class T>
py::object pack(int cell, const py::object& w_ih, const py::object& w_hh, const py::object& b_ih,
                const py::object& b_hh, const py::object& w_hr) {
  constexpr const char* kName = "pack";
  const auto axes = [](const py::object& value, const char* name) {
    if (!py::isinstance<py::array>(value) || py::cast<py::array>(value).ndim() != 2)
      throw py::type_error(std::string(kName) + ": " + name + " must be an array with two axes");
    return py::cast<py::array>(value);
  };
  const int64_t G = kCells[cell].gates;
  const py::array input = axes(w_ih, "w_ih"), hidden = axes(w_hh, "w_hh");
  Sizes sizes{};
  sizes.I = input.shape(1), sizes.H = input.shape(0) / G, sizes.P = hidden.shape(1);
  if (sizes.I < 1 || sizes.H < 1 || sizes.P < 1) throw py::value_error("pack: I, H and P must be at least 1");
  if (!w_hr.is_none() && !kCells[cell].projects)
    throw py::value_error(std::string("pack: the cell ") + kCells[cell].name + " takes no projection");
  if (w_hr.is_none() && sizes.P != sizes.H)
    throw py::value_error("pack: w_hh must have H columns without a projection");
  const int64_t gates = G * sizes.H;
  Weights<T> w;
  w.w_ih = present(dense<const T>(w_ih, {kName, "w_ih", "(G*H, I)", {gates, sizes.I}}), kName, "w_ih");
  w.w_hh = present(dense<const T>(w_hh, {kName, "w_hh", "(G*H, P)", {gates, sizes.P}}), kName, "w_hh");
  w.b_ih = dense<const T>(b_ih, {kName, "b_ih", "(G*H,)", {gates}});
  w.b_hh = dense<const T>(b_hh, {kName, "b_hh", "(G*H,)", {gates}});
  w.w_hr = dense<const T>(w_hr, {kName, "w_hr", "(P, H)", {sizes.P, sizes.H}});
  return py::cast(std::make_unique<Layer<T>>(cell, sizes, w, py::make_tuple(w_ih, w_hh, b_ih, b_hh, w_hr)));
}

py::object pack_any(const std::string& cell, const py::array& w_ih, const py::object& w_hh, const py::object& b_ih,
                    const py::object& b_hh, const py::object& w_hr) {
  const int index = cell_index(cell);
  if (w_ih.dtype().equal(py::dtype::of<float>())) return pack<float>(index, w_ih, w_hh, b_ih, b_hh, w_hr);
  if (w_ih.dtype().equal(py::dtype::of<double>())) return pack<double>(index, w_ih, w_hh, b_ih, b_hh, w_hr);
  throw py::type_error("pack: w_ih must have dtype float32 or float64, got " + std::string(py::str(w_ih.dtype())));
}

template <class T>
void bind(py::module_& module, const char* name, const char* packed_name) {
  using L = Layer<T>;
  py::class_<Packed<T>>(module, packed_name, "Packed weights, as a stepper takes them.");
  py::class_<L, Packed<T>>(module, name, "The packed weights of one layer and direction.")
      .def("forward", &L::forward, "Arguments as in `PackedLayer` of fusedrnn.backends.")
      .def("backward", &L::backward, "Likewise.")
      .def("forward_with", &L::forward_with, py::arg("arguments"), py::arg("other"), py::arg("its"))
      .def("backward_with", &L::backward_with, py::arg("arguments"), py::arg("other"), py::arg("its"))
      .def_static("most_together", &cpu::num_threads)
      .def_static("forward_wave", &L::forward_wave, py::arg("layers"), py::arg("arguments"))
      .def_static("backward_wave", &L::backward_wave, py::arg("layers"), py::arg("arguments"))
      .def_static("plans_of_wave", &L::plans_of_wave, py::arg("layers"), py::arg("steps"), py::arg("rows"),
                  py::arg("backward"))
      .def("segment_steps", &L::segment_steps, py::arg("steps"), py::arg("rows"), py::arg("every"))
      .def("plan", &L::plan, py::arg("steps"), py::arg("rows"), py::arg("backward"))
      .def("plan_of_half", &L::plan_of_half, py::arg("steps"), py::arg("rows"), py::arg("backward"));
}

}  // namespace

void bind_layer(py::module_& module) {
  bind<float>(module, "Layer32", "Packed32");
  bind<double>(module, "Layer64", "Packed64");
  module.def("pack", &pack_any, py::arg("cell"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih"), py::arg("b_hh"),
             py::arg("w_hr"), "Pack the weights of one layer and direction, arrays or None, for the kernels.");
}

}  // namespace fusedrnn::python
