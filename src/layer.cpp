// One layer in one direction for Python: fusedrnn._core.pack(...) gives a Layer32 or Layer64.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "cpu/backend.h"
#include "cpu/threads.h"
#include "intake.h"
#include "packed.h"
#include "problems.h"

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
    const ForwardProblem<T> problem = forward_problem(packed_, arguments);
    const py::gil_scoped_release released;
    packed_.forward(problem);
  }

  void backward(const py::args& arguments) const {
    const BackwardProblem<T> problem = backward_problem(packed_, arguments);
    const py::gil_scoped_release released;
    packed_.backward(problem);
  }

  void forward_with(const py::tuple& arguments, const Layer& other, const py::tuple& its) const {
    const ForwardProblem<T> problem = forward_problem(packed_, arguments);
    const ForwardProblem<T> beside = forward_problem(other.packed_, its);
    check_same("forward_with", problem.sizes, beside.sizes);
    const py::gil_scoped_release released;
    packed_.forward_with(problem, other.packed_, beside);
  }

  void backward_with(const py::tuple& arguments, const Layer& other, const py::tuple& its) const {
    const BackwardProblem<T> problem = backward_problem(packed_, arguments);
    const BackwardProblem<T> beside = backward_problem(other.packed_, its);
    check_same("backward_with", problem.sizes, beside.sizes);
    const py::gil_scoped_release released;
    packed_.backward_with(problem, other.packed_, beside);
  }

  static void forward_wave(const py::list& objects, const py::list& arguments) {
    const Layers layers = layers_of(objects);
    std::vector<ForwardProblem<T>> problems;
    for (size_t i = 0; i < layers.size(); ++i)
      problems.push_back(forward_problem(*layers[i], py::cast<py::tuple>(py::object(arguments[i]))));
    check_chain("forward_wave", problems);
    const py::gil_scoped_release released;
    cpu::PackedLayer<T>::forward_wave(layers, problems);
  }

  static void backward_wave(const py::list& objects, const py::list& arguments) {
    const Layers layers = layers_of(objects);
    std::vector<BackwardProblem<T>> problems;
    for (size_t i = 0; i < layers.size(); ++i)
      problems.push_back(backward_problem(*layers[i], py::cast<py::tuple>(py::object(arguments[i]))));
    check_chain("backward_wave", problems);
    const py::gil_scoped_release released;
    cpu::PackedLayer<T>::backward_wave(layers, problems);
  }

  // As many as there are threads for if any run as a wavefront, else 1.
  static int together(const py::list& objects, int64_t T_, int64_t B, bool ids, bool backward) {
    const Plans plans = wave(objects, T_, B, ids, backward);
    return std::any_of(plans.begin(), plans.end(), [](const auto& plan) { return plan.has_value(); })
               ? cpu::num_threads()
               : 1;
  }

  static py::list plans_of_wave(const py::list& objects, int64_t T_, int64_t B, bool ids, bool backward) {
    py::list texts;
    for (const std::optional<cpu::Plan>& plan : wave(objects, T_, B, ids, backward)) texts.append(text(plan, backward));
    return texts;
  }

  int64_t segment_steps(int64_t T_, int64_t B, int64_t every) const {
    return packed_.segment_steps(sizes_for(packed_, T_, B, false), every);
  }

  std::string plan(int64_t T_, int64_t B, bool ids, bool backward) const {
    return cpu::describe(packed_.plan(sizes_for(packed_, T_, B, ids), backward), backward);
  }

  // None where the directions run one after the other.
  py::object plan_of_half(int64_t T_, int64_t B, bool ids, bool backward) const {
    return text(packed_.plan_of_half(sizes_for(packed_, T_, B, ids), backward), backward);
  }

 private:
  using Layers = std::vector<const cpu::PackedLayer<T>*>;
  using Plans = std::vector<std::optional<cpu::Plan>>;

  static Layers layers_of(const py::list& objects) {
    Layers layers;
    for (const py::handle& object : objects) layers.push_back(&py::cast<const Layer&>(object).packed_);
    return layers;
  }

  static Sizes sizes_for(const cpu::PackedLayer<T>& packed, int64_t T_, int64_t B, bool ids) {
    Sizes sizes = packed.sizes();
    sizes.T = T_, sizes.B = B;
    if (ids) sizes.I = 0;  // as the plan takes it: no input product
    return sizes;
  }

  // By layer, of all from the first one up, which may have ids.
  static Plans wave(const py::list& objects, int64_t T_, int64_t B, bool ids, bool backward) {
    Layers layers = layers_of(objects);
    std::vector<Sizes> sizes;
    for (const cpu::PackedLayer<T>* layer : layers) sizes.push_back(sizes_for(*layer, T_, B, ids && sizes.empty()));
    if (!backward) return cpu::PackedLayer<T>::plans_of_wave(layers, sizes, false);
    std::reverse(layers.begin(), layers.end());  // the last one runs first
    std::reverse(sizes.begin(), sizes.end());
    Plans plans = cpu::PackedLayer<T>::plans_of_wave(layers, sizes, true);
    std::reverse(plans.begin(), plans.end());
    return plans;
  }

  static py::object text(const std::optional<cpu::Plan>& plan, bool backward) {
    return plan ? py::object(py::str(cpu::describe(*plan, backward))) : py::none();
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
      .def_static("forward_wave", &L::forward_wave, py::arg("layers"), py::arg("arguments"))
      .def_static("backward_wave", &L::backward_wave, py::arg("layers"), py::arg("arguments"))
      .def_static("together", &L::together, py::arg("layers"), py::arg("steps"), py::arg("rows"), py::arg("ids"),
                  py::arg("backward"))
      .def_static("plans_of_wave", &L::plans_of_wave, py::arg("layers"), py::arg("steps"), py::arg("rows"),
                  py::arg("ids"), py::arg("backward"))
      .def("segment_steps", &L::segment_steps, py::arg("steps"), py::arg("rows"), py::arg("every"))
      .def("plan", &L::plan, py::arg("steps"), py::arg("rows"), py::arg("ids"), py::arg("backward"))
      .def("plan_of_half", &L::plan_of_half, py::arg("steps"), py::arg("rows"), py::arg("ids"), py::arg("backward"));
}

}  // namespace

void bind_layer(py::module_& module) {
  bind<float>(module, "Layer32", "Packed32");
  bind<double>(module, "Layer64", "Packed64");
  module.def("pack", &pack_any, py::arg("cell"), py::arg("w_ih"), py::arg("w_hh"), py::arg("b_ih"), py::arg("b_hh"),
             py::arg("w_hr"), "Pack the weights of one layer and direction, arrays or None, for the kernels.");
}

}  // namespace fusedrnn::python
