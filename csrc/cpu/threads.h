// How many threads a call may use.
#pragma once

#include <cstdint>

namespace fusedrnn::cpu {

// FUSEDRNN_NUM_THREADS, else what affinity and the control group allow. Throws std::invalid_argument when the variable
// holds something else than a number of threads.
int num_threads();
void set_num_threads(int threads);  // threads >= 1

// For work that passes over values once: fewer are not worth waking anybody.
int threads_for(int64_t values);

}  // namespace fusedrnn::cpu
