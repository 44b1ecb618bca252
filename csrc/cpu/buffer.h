// Memory for vectors, given back with its owner.
#pragma once

#include <cstddef>
#include <memory>

#include "cpu/memory.h"

namespace fusedrnn::cpu {

class Buffer {
  struct Give {
    size_t bytes;
    void operator()(char* data) const { give_memory(data, bytes); }
  };

 public:
  Buffer() : data_(nullptr, Give{0}) {}
  // Throws std::bad_alloc.
  explicit Buffer(size_t bytes) : data_(take_memory(bytes), Give{bytes}) {}
  char* data() const { return data_.get(); }

 private:
  std::unique_ptr<char, Give> data_;
};

}  // namespace fusedrnn::cpu
