// Launches by address and graphs of kernels; see cuda_runtime.h. What ran is counted for tests, which reach the
// functions at the end of this file by their names.
#include <atomic>
#include <map>
#include <memory>

#include "cuda_runtime.h"

namespace emulation {
namespace {

std::atomic<long> graph_launches = 0, node_launches = 0, direct_launches = 0;
std::atomic<bool> capturing = false, refusing = false;

void set(Node& node, const cudaKernelNodeParams& parameters) {
  node.config = {parameters.gridDim, parameters.blockDim, parameters.sharedMemBytes};
  node.thread = parameters.func.bind(parameters.kernelParams);
}

}  // namespace

struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;
};

struct Executable {
  std::vector<const Node*> order;  // nodes of the graph that this was made from, each after those before it
  std::map<const Node*, Node> nodes;
};

namespace {

// Of the nodes that may run the last one goes first, so that one that forgets to wait for another runs too early.
std::vector<const Node*> ordered(const Graph& graph) {
  std::vector<const Node*> order;
  std::map<const Node*, bool> done;
  const auto ready = [&](const Node& node) {
    if (done[&node]) return false;
    for (const Node* before : node.before)
      if (!done[before]) return false;
    return true;
  };
  while (order.size() < graph.nodes.size())
    for (size_t k = graph.nodes.size(); k-- > 0;)
      if (const Node* node = graph.nodes[k].get(); ready(*node)) {
        order.push_back(node), done[node] = true;
        break;
      }
  return order;
}

}  // namespace
}  // namespace emulation

cudaError_t cudaLaunchKernel(const emulation::Kernel& kernel, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream) {
  ++emulation::direct_launches;
  return emulation::run({grid, block, shared_bytes, stream}, kernel.bind(arguments));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = emulation::capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  *graph = new emulation::Graph;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                   size_t before_count, const cudaKernelNodeParams* parameters) {
  graph->nodes.push_back(std::make_unique<emulation::Node>());
  *node = graph->nodes.back().get();
  emulation::set(**node, *parameters);
  (*node)->before.assign(before, before + before_count);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new emulation::Executable{emulation::ordered(*graph), {}};
  for (const auto& node : graph->nodes) (*executable)->nodes[node.get()] = *node;
  return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* parameters) {
  const auto found = executable->nodes.find(node);
  if (found == executable->nodes.end()) return cudaErrorInvalidValue;
  emulation::set(found->second, *parameters);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  if (emulation::capturing || emulation::refusing) return cudaErrorInvalidValue;
  ++emulation::graph_launches;
  for (const emulation::Node* node : executable->order) {
    const emulation::Node& here = executable->nodes.at(node);
    const cudaError_t status = emulation::run(here.config, here.thread);
    if (status != cudaSuccess) return status;
    ++emulation::node_launches;
  }
  return cudaSuccess;
}

// ---- for tests
// -------------------------------------------------------------------------------------------------------

#define EMULATION_EXPORT extern "C" __attribute__((visibility("default")))

EMULATION_EXPORT long emulated_graph_launches() { return emulation::graph_launches; }
EMULATION_EXPORT long emulated_node_launches() { return emulation::node_launches; }
EMULATION_EXPORT long emulated_direct_launches() { return emulation::direct_launches; }
EMULATION_EXPORT void emulated_capture(int on) { emulation::capturing = on != 0; }
EMULATION_EXPORT void emulated_refuse_graphs(int on) { emulation::refusing = on != 0; }
