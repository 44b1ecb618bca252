// A chain: the launches of one loop, queued many at a time. As nodes of a graph they cost the host a fraction of what
// launches by themselves do.
#pragma once

#include "cuda/launch.h"
#include "cuda/plan.h"

namespace fusedrnn::cuda {

class Chain {
 public:
  // graphs: whether kNodes launches at a time become a graph. Where the stream is being captured, none does, so that
  // each launch is a node of the caller's graph.
  Chain(cudaStream_t stream, bool graphs) : stream_(stream), graphs_(graphs) {}
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  // Adds kernel(loop, s); no blocks, no launch. The loop has to stay until the chain is finished.
  template <class Loop>
  void add(const char* name, void (*kernel)(Loop, int64_t), const Shape& shape, const Loop& loop, int64_t s) {
    if (!has_blocks(name, reinterpret_cast<const void*>(kernel), shape)) return;
    Launch& launch = launches_[count_++];
    launch.name = name, launch.s = s;
    launch.arguments[0] = const_cast<Loop*>(&loop), launch.arguments[1] = &launch.s;
    launch.node.func = Function(kernel);
    launch.node.gridDim = dim3(static_cast<unsigned>(shape.blocks));
    launch.node.blockDim = dim3(static_cast<unsigned>(shape.threads));
    launch.node.sharedMemBytes = static_cast<unsigned>(shape.shared_bytes);
    launch.node.kernelParams = launch.arguments;
    if (count_ == kNodes) queue();
  }

  // Queues what has been added and is not queued yet.
  void finish() { queue(); }

 private:
  using Function = decltype(cudaKernelNodeParams::func);

  struct Launch {
    const char* name;
    int64_t s;
    void* arguments[2];
    cudaKernelNodeParams node{};
  };

  class Graph;
  class Ring;

  void queue();

  cudaStream_t stream_;
  bool graphs_;
  int count_ = 0;
  Launch launches_[kNodes];
};

}  // namespace fusedrnn::cuda
