#include "cpu/pool.h"

#include <chrono>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/relax.h"

#if defined(__linux__)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace fusedrnn::cpu {
namespace {

// What floating-point operations of this thread do in special cases.
using Mode = unsigned;
#if defined(__x86_64__) || defined(_M_X64)
constexpr Mode kDenormalsAreZero = 0x8040;
Mode mode() { return _mm_getcsr(); }
void set_mode(Mode wanted) { _mm_setcsr(wanted); }
#else
constexpr Mode kDenormalsAreZero = 0;
Mode mode() { return 0; }
void set_mode(Mode) {}
#endif

// Another mode until the end of the block.
class InMode {
 public:
  explicit InMode(Mode wanted) : before_(mode()) { set_mode(wanted); }
  ~InMode() { set_mode(before_); }
  InMode(const InMode&) = delete;
  InMode& operator=(const InMode&) = delete;

 private:
  const Mode before_;
};

// Denormal numbers cost a hundred cycles each: within a call they are zero, afterwards the caller's mode is back.
class DenormalsAreZero : InMode {
 public:
  DenormalsAreZero() : InMode(mode() | kDenormalsAreZero) {}
};

using Time = std::chrono::steady_clock::time_point;
constexpr std::chrono::milliseconds kBetweenQuestions{100};
constexpr double kPatience = 50000;  // cycles, more than 10 us: a look at the clock is nothing to them

std::atomic<Question> the_question{nullptr};

}  // namespace

struct Asking {
  const Question question;
  const Mode mode_of_caller;
  Time next{};                  // set by the first look at the clock
  std::exception_ptr thrown{};  // by the question
};

namespace {

struct Job {
  TeamFunction function;
  void* context;
  Team* team;
};

// A worker's mailbox: the caller puts a job in, the worker takes it out when done.
struct alignas(64) Worker {
  std::atomic<const Job*> job{nullptr};
};

constexpr std::chrono::microseconds kSpin{100};

void serve(Worker& worker, int thread) {
  for (;;) {
    const auto sleep_at = std::chrono::steady_clock::now() + kSpin;
    const Job* job = nullptr;
    while ((job = worker.job.load(std::memory_order_acquire)) == nullptr) {
      for (int i = 0; i < 32; ++i) relax();
      if (std::chrono::steady_clock::now() > sleep_at) worker.job.wait(nullptr, std::memory_order_acquire);
    }
    {
      DenormalsAreZero guard;
      job->function(job->context, *job->team, thread);
    }
    worker.job.store(nullptr, std::memory_order_release);
  }
}

class Pool {
 public:
  // False when another caller is in it, or the system gives no more threads.
  bool run(int threads, TeamFunction function, void* context, Asking* asking) {
    // No mutex: what the question does may come here again, on the thread that is in it already.
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    const Leaving guard(busy_);
    if (grow(threads) < threads) return false;
    Team team(threads, asking);
    const Job job{function, context, &team};
    for (int i = 1; i < threads; ++i) {
      workers_[i - 1].job.store(&job, std::memory_order_release);
      workers_[i - 1].job.notify_one();
    }
    {
      DenormalsAreZero denormals;
      function(context, team, 0);
    }
    for (int i = 1; i < threads; ++i) {
      for (int spins = 0; workers_[i - 1].job.load(std::memory_order_acquire) != nullptr; ++spins) {
        relax();
        if (spins <= 2000) continue;
        team.ask();
        std::this_thread::yield();
      }
    }
    return true;
  }

 private:
  struct Leaving {
    explicit Leaving(std::atomic<bool>& flag) : busy(flag) {}
    ~Leaving() { busy.store(false, std::memory_order_release); }
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    std::atomic<bool>& busy;
  };

  // Makes workers up to `threads` - 1; returns how many threads there are, the caller included.
  int grow(int threads) {
    while (static_cast<int>(workers_.size()) < threads - 1) {
      workers_.emplace_back();
      Worker& worker = workers_.back();
      const int thread = static_cast<int>(workers_.size());
      try {
        std::thread(serve, std::ref(worker), thread).detach();
      } catch (const std::system_error&) {  // the system gives no more threads
        workers_.pop_back();
        break;
      }
    }
    return static_cast<int>(workers_.size()) + 1;
  }

  std::atomic<bool> busy_{false};
  std::deque<Worker> workers_;  // never moved: the threads hold references
};

// The pool outlives every static object, since its threads do; a forked child forgets it and makes its own.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found != nullptr) return *found;
#if defined(__linux__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
  (void)registered;
#endif
  auto fresh = std::make_unique<Pool>();
  if (the_pool.compare_exchange_strong(found, fresh.get())) return *fresh.release();
  return *found;
}

// In a pool, or alone where there is none.
void run(int threads, TeamFunction function, void* context, Asking* asking) {
  if (threads > 1 && pool().run(threads, function, context, asking)) return;
  DenormalsAreZero guard;
  Team alone(1, asking);
  function(context, alone, 0);
}

}  // namespace

Team::Team(int size, Asking* asking)
    : size_(size),
      stopped_(&own_stopped_),
      patience_(asking ? kPatience : std::numeric_limits<double>::infinity()),
      asking_(asking) {}

Team::Team(int size, Team& whole, bool asks)
    : size_(size),
      stopped_(whole.stopped_),
      patience_(asks ? whole.patience_ : std::numeric_limits<double>::infinity()),
      asking_(asks ? whole.asking_ : nullptr) {}

// The last to arrive decides for all, in the word that all of them wait for. Whether the work was stopped could have
// another answer a moment later, and then some would leave and others wait for them at the next barrier.
bool Team::barrier() {
  if (size_ == 1) return going();
  constexpr uint32_t kStop = 1, kNext = 2;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    const bool goes_on = going();
    phase_.store(((phase | kStop) ^ kStop) + kNext + (goes_on ? 0 : kStop), std::memory_order_release);
    return goes_on;
  }
  uint32_t now;
  for (int spins = 0; (now = phase_.load(std::memory_order_acquire)) == phase; ++spins) {
    relax();
    if (spins > 2000) std::this_thread::yield();  // more threads than cores: let the others arrive
  }
  return (now & kStop) == 0;
}

void Team::ask() {
  if (asking_ == nullptr || !going()) return;
  patience_ = kPatience;
  const Time now = std::chrono::steady_clock::now();
  if (asking_->next == Time{}) asking_->next = now + kBetweenQuestions;
  if (now < asking_->next) return;
  try {
    const InMode guard(asking_->mode_of_caller);
    asking_->question();
  } catch (...) {  // thrown on when every thread has left
    asking_->thrown = std::current_exception();
    stopped_->store(true, std::memory_order_relaxed);
  }
  asking_->next = std::chrono::steady_clock::now() + kBetweenQuestions;
}

void run_team(int threads, TeamFunction function, void* context) { run(threads, function, context, nullptr); }

void run_stoppable_team(int threads, TeamFunction function, void* context) {
  Asking asking{the_question.load(std::memory_order_relaxed), mode()};
  run(threads, function, context, asking.question ? &asking : nullptr);
  if (asking.thrown) std::rethrow_exception(std::exchange(asking.thrown, nullptr));
}

void run_teams(int count, int threads, PartFunction function, void* context) {
  std::vector<std::optional<Team>> parts(count);
  run_stoppable_team(count * threads, [&](Team& team, int thread) {
    if (team.size() == 1) {
      for (int part = 0; part < count; ++part) function(context, part, team, 0);
      return;
    }
    if (thread == 0)
      for (int part = 0; part < count; ++part) parts[part].emplace(threads, team, part == 0);
    team.barrier();
    function(context, thread / threads, *parts[thread / threads], thread % threads);
  });
}

void set_question(Question question) { the_question.store(question, std::memory_order_relaxed); }

}  // namespace fusedrnn::cpu
