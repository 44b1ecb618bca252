// Compiled like kernels.cpp, but without contraction: see optimiser_kernels.h.
#include "cpu/optimiser_kernels.h"

#include "cpu/scale.h"
#include "cpu/squares.h"
#include "cpu/update.h"
#include "optimisers/registry.h"

namespace fusedrnn::FUSEDRNN_ISA {

#define FUSEDRNN_UPDATE(name, Rule)                                             \
  template void update<Rule, float>(const cpu::UpdateTask<float>&, Team&, int); \
  template void update<Rule, double>(const cpu::UpdateTask<double>&, Team&, int);
FUSEDRNN_OPTIMISERS(FUSEDRNN_UPDATE)
#undef FUSEDRNN_UPDATE

template void sum_squares<float>(const cpu::SquaresTask<float>&, Team&, int);
template void sum_squares<double>(const cpu::SquaresTask<double>&, Team&, int);
template void scale<float>(const cpu::ScaleTask<float>&, Team&, int);
template void scale<double>(const cpu::ScaleTask<double>&, Team&, int);

}  // namespace fusedrnn::FUSEDRNN_ISA
