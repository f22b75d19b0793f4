// Fused attention by cuDNN's graph API, through NVIDIA's header-only frontend.
//   q, o, do, dq [B, H, S, D]   k, v, dk, dv [B, G, S, D]   statistics [B, H, S, 1] f32
// with the tokens' strides of the caller; statistics are the log-sum-exps of the scaled scores.
#include "kernels/cuda/sdpa.h"

#include <algorithm>
#include <cmath>
#include <cudnn_frontend.h>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/compiler.h"
#include "kernels/cuda/context.h"

namespace trine::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

void check(fe::error_t error, const char* call) {
  if (error.is_bad()) throw DeviceError(fmt::format("[cudnn] {} from {}", error.get_message(), call));
}

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw DeviceError(fmt::format("[cudnn] {} from {}", static_cast<int>(status), call));
}

// Heads of tokens whose rows are `stride` elements apart: [B, heads, S, D] as cuDNN names the dims.
void lay_out(fe::graph::Tensor_attributes& tensor, const AttentionShape& s, int64_t heads, int64_t stride) {
  tensor.set_dim({s.batch, heads, s.seq, s.head_dim}).set_stride({s.seq * stride, s.head_dim, stride, 1});
}

// Operands are numbered in the order of run(): a variant pack finds them by this number.
class Problem {
 public:
  Problem(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides)
      : shape_(shape), strides_(strides.begin(), strides.end()) {
    const auto type = dtype == DType::kBF16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF;
    graph->set_io_data_type(type)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
  }

  Tensor input(const char* name, int64_t heads) {
    fe::graph::Tensor_attributes attributes;
    attributes.set_name(name).set_uid(next_uid_++);
    lay_out(attributes, shape_, heads, take_stride());
    return graph->tensor(attributes);
  }
  Tensor statistics_input() {
    fe::graph::Tensor_attributes attributes;
    attributes.set_name("statistics").set_uid(next_uid_++);
    lay_out_statistics(attributes);
    return graph->tensor(attributes);
  }
  void output(const Tensor& tensor, int64_t heads) {
    tensor->set_output(true).set_uid(next_uid_++);
    lay_out(*tensor, shape_, heads, take_stride());
  }
  void statistics_output(const Tensor& tensor) {
    tensor->set_output(true).set_uid(next_uid_++);
    lay_out_statistics(*tensor);
  }
  int num_operands() const { return static_cast<int>(next_uid_) - 1; }

  std::shared_ptr<fe::graph::Graph> graph = std::make_shared<fe::graph::Graph>();

 private:
  int64_t take_stride() { return strides_.at(num_strides_++); }
  void lay_out_statistics(fe::graph::Tensor_attributes& tensor) const {
    tensor.set_dim({shape_.batch, shape_.heads, shape_.seq, 1})
        .set_stride({shape_.heads * shape_.seq, shape_.seq, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
  }

  AttentionShape shape_;
  std::vector<int64_t> strides_;
  size_t num_strides_ = 0;
  int64_t next_uid_ = 1;
};

class Graph final : public SdpaGraph {
 public:
  Graph(cudnnHandle_t handle, Problem problem, int64_t workspace_bytes)
      : handle_(handle), problem_(std::move(problem)), workspace_bytes_(workspace_bytes) {}

  int64_t workspace_bytes() const override { return workspace_bytes_; }
  std::string plan() const override {
    std::string name;
    check(problem_.graph->get_plan_name(name), "get_plan_name");
    return name;
  }

  void run(cudaStream_t stream, std::span<std::byte* const> operands, std::byte* workspace) override {
    TRINE_CHECK(std::ssize(operands) == problem_.num_operands(), "{} operands, {} needed", operands.size(),
                problem_.num_operands());
    check(cudnnSetStream(handle_, stream), "cudnnSetStream");
    std::unordered_map<int64_t, void*> pack;
    for (size_t i = 0; i < operands.size(); ++i) pack[static_cast<int64_t>(i) + 1] = operands[i];
    check(problem_.graph->execute(handle_, pack, workspace), "execute");
  }

 private:
  cudnnHandle_t handle_;
  Problem problem_;
  int64_t workspace_bytes_;
};

// Why cuDNN is not even asked; empty: it is. Heads begin at multiples of 16 bytes.
std::string impossible(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides) {
  if (dtype == DType::kF32) return "it has none for f32; take --dtype bf16";
  if (shape.head_dim % 8 != 0)
    return fmt::format("it has none for heads of {}, only for multiples of 8", shape.head_dim);
  for (const int64_t stride : strides)
    if (stride % 8 != 0) return fmt::format("rows of {} elements are not multiples of 16 bytes", stride);
  return {};
}

std::vector<int64_t> key_of(bool backward, DType dtype, const AttentionShape& s, std::span<const int64_t> strides,
                            int64_t workspace_bytes) {
  std::vector<int64_t> key = {
      backward, static_cast<int64_t>(dtype), s.batch, s.seq, s.heads, s.kv_heads, s.head_dim, workspace_bytes};
  key.insert(key.end(), strides.begin(), strides.end());
  return key;
}

Sdpa::Answer build(cudnnHandle_t handle, Problem problem, int64_t workspace_bytes) try {
  fe::graph::Graph& graph = *problem.graph;
  int64_t needed = 0;
  std::string why;
  const auto refused = [&](fe::error_t error) {
    if (error.is_bad()) why = "it refuses: " + error.get_message();
    return error.is_bad();
  };
  if (refused(graph.validate()) || refused(graph.build_operation_graph(handle)) ||
      refused(graph.create_execution_plans({fe::HeurMode_t::A})))
    return {nullptr, why};
  graph.deselect_workspace_greater_than(workspace_bytes);
  if (refused(graph.check_support()) || refused(graph.build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE)) ||
      refused(graph.get_workspace_size(needed)))
    return {nullptr, why};
  return {std::make_unique<Graph>(handle, std::move(problem), needed), {}};
} catch (const Error& error) {  // a library that the frontend wanted
  return {nullptr, error.what()};
}

float score_scale(const AttentionShape& shape) { return 1 / std::sqrt(static_cast<float>(shape.head_dim)); }

}  // namespace

// cuDNN compiles some of its kernels when they are first needed.
struct Sdpa::Handle {
  Compiler compiler;
  cudnnHandle_t cudnn = nullptr;
  Handle() { check(cudnnCreate(&cudnn), "cudnnCreate"); }
  ~Handle() { cudnnDestroy(cudnn); }
};

Sdpa::Sdpa(bool deterministic) : deterministic_(deterministic), handle_(std::make_unique<Handle>()) {}
Sdpa::~Sdpa() = default;

const Sdpa::Answer& Sdpa::forward(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides,
                                  int64_t workspace_bytes) {
  const auto [entry, is_new] = answers_.try_emplace(key_of(false, dtype, shape, strides, workspace_bytes));
  Answer& answer = entry->second;
  if (!is_new || !(answer.why_not = impossible(dtype, shape, strides)).empty()) return answer;
  Problem p(dtype, shape, strides);
  const Tensor q = p.input("q", shape.heads), k = p.input("k", shape.kv_heads), v = p.input("v", shape.kv_heads);
  const auto [o, statistics] = p.graph->sdpa(q, k, v,
                                             fe::graph::SDPA_attributes()
                                                 .set_name("attention")
                                                 .set_generate_stats(true)
                                                 .set_causal_mask(true)
                                                 .set_attn_scale(score_scale(shape)));
  p.output(o, shape.heads);
  p.statistics_output(statistics);
  return answer = build(handle_->cudnn, std::move(p), workspace_bytes);
}

const Sdpa::Answer& Sdpa::backward(DType dtype, const AttentionShape& shape, std::span<const int64_t> strides,
                                   int64_t workspace_bytes) {
  const auto [entry, is_new] = answers_.try_emplace(key_of(true, dtype, shape, strides, workspace_bytes));
  Answer& answer = entry->second;
  if (!is_new || !(answer.why_not = impossible(dtype, shape, strides)).empty()) return answer;
  Problem p(dtype, shape, strides);
  const Tensor q = p.input("q", shape.heads), k = p.input("k", shape.kv_heads), v = p.input("v", shape.kv_heads),
               o = p.input("o", shape.heads), statistics = p.statistics_input(), d_o = p.input("do", shape.heads);
  const auto [dq, dk, dv] = p.graph->sdpa_backward(q, k, v, o, d_o, statistics,
                                                   fe::graph::SDPA_backward_attributes()
                                                       .set_name("attention_grad")
                                                       .set_causal_mask(true)
                                                       .set_deterministic_algorithm(deterministic_)
                                                       .set_attn_scale(score_scale(shape)));
  p.output(dq, shape.heads);
  p.output(dk, shape.kv_heads);
  p.output(dv, shape.kv_heads);
  return answer = build(handle_->cudnn, std::move(p), workspace_bytes);
}

}  // namespace trine::cuda
