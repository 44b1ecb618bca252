#include "cpu/memory.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace fusedrnn::cpu {
namespace {

constexpr size_t kMostKept = 256 << 20;  // unused bytes that wait for the next request
constexpr size_t kHugePage = 2 << 20;

// Weights of many pages go through the processor step after step: with small pages it looks up more of them than it can
// remember. A large block begins where a huge page can.
std::align_val_t alignment_of(size_t bytes) { return std::align_val_t{bytes >= kHugePage ? kHugePage : 64}; }

// Sizes of one class differ by less than an eighth, and a block of a class serves all of them.
size_t class_of(size_t bytes) {
  size_t step = 1;
  while (bytes / step >= 16) step *= 2;
  return (bytes + step - 1) / step * step;
}

char* ask_system(size_t bytes) {
  char* at = static_cast<char*>(::operator new(bytes, alignment_of(bytes)));
#if defined(__linux__)
  // Only advice: where it is not taken, pages are small. What no huge page would fill stays as it is.
  if (bytes >= kHugePage) madvise(at, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return at;
}

void free_system(char* at, size_t bytes) noexcept { ::operator delete(at, alignment_of(bytes)); }

class Store {
 public:
  char* take(size_t size) {
    {
      const std::lock_guard<std::mutex> locked(mutex_);
      Shelf& shelf = shelves_[size];
      shelf.asked = ++requests_;
      if (!shelf.blocks.empty()) {
        char* at = shelf.blocks.back();
        shelf.blocks.pop_back();
        kept_ -= size;
        return at;
      }
    }
    try {
      return ask_system(size);
    } catch (const std::bad_alloc&) {
      release();
      return ask_system(size);
    }
  }

  void give(char* at, size_t size) noexcept {
    {
      const std::lock_guard<std::mutex> locked(mutex_);
      make_room(size);
      if (kept_ + size <= kMostKept) {
        try {
          shelves_[size].blocks.push_back(at);
          kept_ += size;
          return;
        } catch (const std::bad_alloc&) {  // no room to note it down: the system has it back
        }
      }
    }
    free_system(at, size);
  }

  std::mutex& mutex() { return mutex_; }

 private:
  // The free blocks of one size.
  struct Shelf {
    std::vector<char*> blocks;
    uint64_t asked = 0;  // number of the last request for this size
  };

  // Gives blocks of the sizes back that nobody has asked for longest, until one more of `size` may stay.
  void make_room(size_t size) noexcept {
    while (kept_ + size > kMostKept) {
      auto oldest = shelves_.end();
      for (auto shelf = shelves_.begin(); shelf != shelves_.end(); ++shelf)
        if (shelf->first != size && !shelf->second.blocks.empty() &&
            (oldest == shelves_.end() || shelf->second.asked < oldest->second.asked))
          oldest = shelf;
      if (oldest == shelves_.end()) return;
      free_system(oldest->second.blocks.back(), oldest->first);
      oldest->second.blocks.pop_back();
      kept_ -= oldest->first;
    }
  }

  void release() {
    const std::lock_guard<std::mutex> locked(mutex_);
    for (auto& [size, shelf] : shelves_)
      for (char* at : shelf.blocks) free_system(at, size);
    shelves_.clear();
    kept_ = 0;
  }

  std::mutex mutex_;
  std::map<size_t, Shelf> shelves_;
  size_t kept_ = 0;
  uint64_t requests_ = 0;
};

// Never destroyed, for arrays may outlive everything else.
Store& store() {
  static Store& only = *new Store;
#if defined(__linux__)
  // A child of fork has no other thread that could unlock it.
  static const int registered = pthread_atfork([] { store().mutex().lock(); }, [] { store().mutex().unlock(); },
                                               [] { store().mutex().unlock(); });
  (void)registered;
#endif
  return only;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1  // as GCC says it
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kReuse = false;  // so that a use after free is seen
#else
constexpr bool kReuse = true;
#endif

bool reused(size_t bytes) { return kReuse && bytes >= kSmallMemory && bytes <= kMostKept; }

}  // namespace

char* take_memory(size_t bytes) {
  if (!reused(bytes)) return ask_system(bytes);
  return store().take(class_of(bytes));
}

void give_memory(char* at, size_t bytes) noexcept {
  if (!reused(bytes)) return free_system(at, bytes);
  store().give(at, class_of(bytes));
}

}  // namespace fusedrnn::cpu
