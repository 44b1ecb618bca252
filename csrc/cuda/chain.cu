// How a chain is queued: as a launch of an executable graph of kNodes kernels, each after the one before it. There is
// one kind of graph: its nodes get the functions, shapes and arguments of the chain before every launch, which changes
// later launches alone.
#include "cuda/chain.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

namespace fusedrnn::cuda {
namespace {

struct Destroy {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};

bool is_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "asking whether a stream is captured");
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

// An executable graph. Launches of one are ordered one after another, on whatever stream.
class Chain::Graph {
 public:
  void launch(const Launch (&launches)[kNodes], cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex_);  // nobody else sets nodes before they are launched
    if (executable_ == nullptr)
      make(launches);
    else
      for (int k = 0; k < kNodes; ++k)
        check(cudaGraphExecKernelNodeSetParams(executable_, nodes_[k], &launches[k].node), launches[k].name);
    const cudaError_t status = cudaGraphLaunch(executable_, stream);
    if (status != cudaSuccess) check(status, (std::string("a graph that begins with ") + launches[0].name).c_str());
  }

 private:
  void make(const Launch (&launches)[kNodes]) {
    cudaGraph_t graph = nullptr;
    check(cudaGraphCreate(&graph, 0), "making a graph");
    std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, Destroy> owner(graph);
    for (int k = 0; k < kNodes; ++k)
      check(cudaGraphAddKernelNode(&nodes_[k], graph, k == 0 ? nullptr : &nodes_[k - 1], k == 0 ? 0 : 1,
                                   &launches[k].node),
            launches[k].name);
    check(cudaGraphInstantiate(&executable_, graph, 0), "making a graph executable");
    owner.release();  // whoever sets a node of the executable graph names it by that of this one
  }

  std::mutex mutex_;
  cudaGraphExec_t executable_ = nullptr;
  cudaGraphNode_t nodes_[kNodes] = {};
};

// The executable graphs of a GPU in turn, so that one is set anew while others wait or run.
class Chain::Ring {
 public:
  // That of the current GPU. None is ever destroyed: a graph may run to the end of the process, and after it the
  // driver may be gone.
  static Ring& current() {
    static std::mutex mutex;
    static auto* const rings = new std::map<int, Ring>;
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current GPU");
    const std::lock_guard<std::mutex> lock(mutex);
    return (*rings)[device];
  }

  Graph& next() { return graphs_[turn_++ % kGraphs]; }

 private:
  static constexpr unsigned kGraphs = 8;

  std::atomic<unsigned> turn_ = 0;
  Graph graphs_[kGraphs];
};

void Chain::queue() {
  const int count = count_;
  count_ = 0;
  if (graphs_ && count == kNodes && !is_captured(stream_)) {
    Ring::current().next().launch(launches_, stream_);
    return;
  }
  for (int k = 0; k < count; ++k) {
    const cudaKernelNodeParams& node = launches_[k].node;
    check(cudaLaunchKernel(node.func, node.gridDim, node.blockDim, node.kernelParams, node.sharedMemBytes, stream_),
          launches_[k].name);
  }
}

}  // namespace fusedrnn::cuda
