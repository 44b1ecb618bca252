// Memory aligned for vectors, freed with its owner.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace fusedrnn::cpu {

class Buffer {
 public:
  Buffer() = default;
  // Throws std::bad_alloc.
  explicit Buffer(size_t bytes) : data_(static_cast<char*>(::operator new(bytes, kAlignment))) {}
  char* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(char* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<char, Free> data_;
};

}  // namespace fusedrnn::cpu
