// What a layer of Python holds, and a stepper takes from it: weights in the kernels' order.
#pragma once

#include "cpu/backend.h"

namespace fusedrnn::python {

template <class T>
struct Packed {
  cpu::PackedLayer<T> packed_;
};

}  // namespace fusedrnn::python
