// Fused attention by cuDNN 9 (scaled dot-product attention, its graph API). The only source that sees cuDNN is
// sdpa.cpp; where NVIDIA's header-only frontend is not found, no_sdpa.cpp stands for it and finds no graph.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/device/functions.h"

namespace trine::cuda {

// One prepared problem. Operands are given by address in each call; their strides are fixed.
class SdpaGraph {
 public:
  virtual ~SdpaGraph() = default;
  virtual int64_t workspace_bytes() const = 0;
  virtual std::string plan() const = 0;  // cuDNN's name for what runs
  // REQUIRES: of Sdpa::forward the addresses q, k, v, o, lse; of backward q, k, v, o, lse, do, dq, dk, dv. All are
  // multiples of 16 bytes. Enqueues only.
  virtual void run(cudaStream_t stream, std::span<std::byte* const> operands, std::byte* workspace) = 0;
};

class Sdpa {
 public:
  // The graph, or a clause that says why there is none: f32, odd strides, a head_dim beyond cuDNN's limits (256 on
  // Hopper, 128 before), more workspace than there is, an old GPU.
  struct Answer {
    std::unique_ptr<SdpaGraph> graph;
    std::string why_not;
  };

  // Opens the library; an Error if it cannot be. `deterministic`: of backward.
  explicit Sdpa(bool deterministic);
  ~Sdpa();
  // strides: elements between tokens, in the order of run() but without lse, which is f32 [batch, heads, seq] here.
  // Equal problems share an answer.
  const Answer& forward(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides,
                        int64_t workspace_bytes);
  const Answer& backward(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides,
                         int64_t workspace_bytes);

 private:
  struct Handle;
  const bool deterministic_;
  std::unique_ptr<Handle> handle_;
  std::map<std::vector<int64_t>, Answer> answers_;
};

// The answer's graph, if what it needs is there: cuDNN's frontend may need workspace on top of what its own filter
// of plans has seen. Else null, and `why_not` says what is missing.
inline SdpaGraph* usable(const Sdpa::Answer& answer, int64_t workspace_bytes, std::string& why_not) {
  why_not = answer.why_not;
  if (!answer.graph || answer.graph->workspace_bytes() <= workspace_bytes) return answer.graph.get();
  why_not = "it needs " + std::to_string(answer.graph->workspace_bytes()) + " bytes of workspace, the plan has " +
            std::to_string(workspace_bytes);
  return nullptr;
}

}  // namespace trine::cuda
