// Steps of a stack of layers for Python: fusedrnn._core.Stepper32 and Stepper64, behind fusedrnn.stepper.
//
// A step has to be quick where everything is right, so arguments are looked at without a word; for what does not fit,
// `step` returns None, and Python says what is wrong.
#include "cpu/stepper.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>

#include "bindings.h"
#include "intake.h"
#include "packed.h"

namespace fusedrnn::python {
namespace {

// Letting other threads of Python run costs some 40 ns, and where they are busy, getting back in up to 5 ms. Steps that
// the cost model takes for shorter than this (about 20 us) keep the lock of the interpreter.
constexpr double kReleaseCycles = 50000;

// Raised when the weights change, and looked at by every step.
struct Flag {
  std::atomic<bool> raised{false};
};

// Marks a stepper as busy.
class Alone {
 public:
  Alone(std::atomic<bool>& busy, const std::string& where) : busy_(busy) {
    if (busy.exchange(true, std::memory_order_acquire))
      throw std::runtime_error(where +
                               ": a step must have ended before the next call, but one is running in another thread");
  }
  ~Alone() { busy_.store(false, std::memory_order_release); }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  std::atomic<bool>& busy_;
};

template <class T>
class Stepper {
 public:
  Stepper(std::string where, py::tuple layers, int64_t rows, bool batched, std::shared_ptr<Flag> changed)
      : where_(std::move(where)),
        layers_(std::move(layers)),
        stepper_(packed(layers_), rows),
        changed_(std::move(changed)),
        batched_(batched),
        array_type_(py::detail::npy_api::get().PyArray_Type_),
        dtype_(py::dtype::of<T>()) {
    const int64_t P = stepper_.sizes().P;
    // A view, so that it cannot be resized, of memory that lives as long as the view.
    auto memory = std::make_unique<cpu::Buffer>(static_cast<size_t>(rows * P) * sizeof(T));
    y_data_ = reinterpret_cast<T*>(memory->data());
    const py::capsule owner(memory.get(), [](void* buffer) { delete static_cast<cpu::Buffer*>(buffer); });
    memory.release();
    const auto shape = batched ? std::vector<py::ssize_t>{rows, P} : std::vector<py::ssize_t>{P};
    y_ = py::array_t<T>(shape, y_data_, owner);
  }

  py::object step(const py::handle& x, const py::handle& out) {
    const Sizes& sizes = stepper_.sizes();
    if (!fits(x, sizes.I) || !(out.is_none() || (fits(out, sizes.P) && writable(out)))) return py::none();
    return run(false, out, [&] { take(x); });
  }

  // ids: (B) int64, C-contiguous.
  py::object step_ids(const py::handle& ids, const py::handle& out) {
    const Sizes& sizes = stepper_.sizes();
    if (!(out.is_none() || (fits(out, sizes.P) && writable(out)))) return py::none();
    const auto* from =
        present(dense<const int64_t>(ids, {where_.c_str(), "x.ids", "(B,)", {sizes.B}}), where_.c_str(), "x.ids");
    for (int64_t b = 0; b < sizes.B; ++b)
      if (from[b] < 0 || from[b] >= sizes.I)
        throw py::value_error(where_ + ": x.ids must be in [0, I) = [0, " + std::to_string(sizes.I) + "), got " +
                              std::to_string(from[b]) + " at b = " + std::to_string(b));
    return run(true, out, [&] { std::copy_n(from, sizes.B, stepper_.ids()); });
  }

  // Copies: (L, B, P), then (L, B, H) for each further state.
  py::tuple state() {
    const Alone alone(busy_, where_);
    py::tuple parts(stepper_.states());
    for (int k = 0; k < stepper_.states(); ++k)
      parts[k] = py::array_t<T>({stepper_.layers(), stepper_.sizes().B, stepper_.state_columns(k)}, stepper_.state(k));
    return parts;
  }

  // Sets the rows where `rows` (B) is not 0, all for None; zeros for parts that are None.
  void set_state(const py::tuple& parts, const py::object& rows) {
    const Alone alone(busy_, where_);
    const int64_t B = stepper_.sizes().B, L = stepper_.layers();
    const auto* chosen = dense<const uint8_t>(rows, {where_.c_str(), "rows", "(B,)", {B}});
    for (int k = 0; k < stepper_.states(); ++k) {
      const int64_t columns = stepper_.state_columns(k);
      const auto* from = dense<const T>(parts[k], {where_.c_str(), "state", "(L, B, C)", {L, B, columns}});
      for (int64_t at = 0; at < L * B; ++at) {
        if (chosen != nullptr && chosen[at % B] == 0) continue;
        T* to = stepper_.state(k) + at * columns;
        if (from == nullptr)
          std::fill_n(to, columns, T(0));
        else
          std::copy_n(from + at * columns, columns, to);
      }
    }
  }

 private:
  using Proxy = py::detail::PyArray_Proxy;

  static std::vector<const cpu::PackedLayer<T>*> packed(const py::tuple& layers) {
    std::vector<const cpu::PackedLayer<T>*> found;
    for (const py::handle layer : layers) found.push_back(&py::cast<const Packed<T>&>(layer).packed_);
    if (found.empty()) throw py::value_error("Stepper: layers must be at least one");
    return found;
  }

  // Whether the value is a plain array of T, of shape (B, columns), or (columns) without rows. Any strides.
  bool fits(const py::handle& value, int64_t columns) const {
    if (Py_TYPE(value.ptr()) != array_type_) return false;
    const Proxy& array = *py::detail::array_proxy(value.ptr());
    if (array.descr != dtype_.ptr()) return false;
    if (!batched_) return array.nd == 1 && array.dimensions[0] == columns;
    return array.nd == 2 && array.dimensions[0] == stepper_.sizes().B && array.dimensions[1] == columns;
  }

  static bool writable(const py::handle& out) {
    using Api = py::detail::npy_api;
    constexpr int kNeeded = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_ | Api::NPY_ARRAY_WRITEABLE_;
    return (py::detail::array_proxy(out.ptr())->flags & kNeeded) == kNeeded;
  }

  // Copies x, since it may lie anywhere, even where y goes.
  void take(const py::handle& x) {
    const Proxy& array = *py::detail::array_proxy(x.ptr());
    const int64_t B = stepper_.sizes().B, I = stepper_.sizes().I;
    if (array.flags & py::array::c_style) {
      std::memcpy(stepper_.x(), array.data, static_cast<size_t>(B * I) * sizeof(T));
      return;
    }
    const py::ssize_t by_row = batched_ ? array.strides[0] : 0, by_column = array.strides[batched_ ? 1 : 0];
    for (int64_t b = 0; b < B; ++b)
      for (int64_t i = 0; i < I; ++i)
        std::memcpy(stepper_.x() + b * I + i, array.data + b * by_row + i * by_column, sizeof(T));
  }

  template <class Take>
  py::object run(bool from_ids, const py::handle& out, Take&& take_input) {
    if (changed_->raised.load(std::memory_order_acquire))
      throw std::runtime_error(where_ +
                               ": the weights must be those that the stepper was made with, but the layer's have "
                               "changed; refresh() takes them over");
    const Alone alone(busy_, where_);
    take_input();
    T* y = out.is_none() ? y_data_ : reinterpret_cast<T*>(py::detail::array_proxy(out.ptr())->data);
    {
      std::optional<py::gil_scoped_release> released;
      if (stepper_.cycles() > kReleaseCycles) released.emplace();
      stepper_.step(from_ids, y);
    }
    return out.is_none() ? y_ : py::reinterpret_borrow<py::object>(out);
  }

  const std::string where_;  // for messages
  const py::tuple layers_;   // keeps the packed weights
  cpu::Stepper<T> stepper_;
  const std::shared_ptr<Flag> changed_;
  const bool batched_;
  PyTypeObject* const array_type_;
  const py::dtype dtype_;
  std::atomic<bool> busy_{false};
  T* y_data_;
  py::object y_;  // (B, P), or (P) without rows
};

template <class T>
void bind(py::module_& module, const char* name) {
  using S = Stepper<T>;
  py::class_<S>(module, name, "A stack of packed layers with its state.")
      .def(py::init<std::string, py::tuple, int64_t, bool, std::shared_ptr<Flag>>(), py::arg("where"),
           py::arg("layers"), py::arg("rows"), py::arg("batched"), py::arg("changed"))
      .def("step", &S::step, py::arg("x"), py::arg("out"))
      .def("step_ids", &S::step_ids, py::arg("ids"), py::arg("out"))
      .def("state", &S::state)
      .def("set_state", &S::set_state, py::arg("parts"), py::arg("rows"));
}

}  // namespace

void bind_stepper(py::module_& module) {
  py::class_<Flag, std::shared_ptr<Flag>>(module, "Flag", "What a layer raises when its weights change.")
      .def(py::init<>())
      .def("set", [](Flag& flag) { flag.raised.store(true, std::memory_order_release); });
  bind<float>(module, "Stepper32");
  bind<double>(module, "Stepper64");
}

}  // namespace fusedrnn::python
