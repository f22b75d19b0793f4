// Attention by cuDNN where it has a kernel, else by the plain kernels of device/attention.cu. cuDNN keeps the
// log-sum-exps as [batch, heads, seq]; the op's are [tokens, heads].
#include "ops/attention.h"

#include <array>

#include "base/shape.h"
#include "kernels/cuda/index.h"
#include "kernels/cuda/sdpa.h"
#include "kernels/cuda/views.h"

namespace trine::cuda {
namespace {

constexpr size_t kLse = 4;  // among the inputs of attention_grad

AttentionShape shape_of(const TensorView& q, const TensorView& k, int64_t seq, int64_t head_dim) {
  return {q.rows / seq, seq, static_cast<int>(q.columns / head_dim), static_cast<int>(k.columns / head_dim),
          static_cast<int>(head_dim)};
}

int64_t statistics_bytes(const AttentionShape& s) { return ceil_div(s.batch * s.seq * s.heads * 4, 256) * 256; }

bool in_packs(std::span<const TensorView> views) {
  return std::all_of(views.begin(), views.end(), [](const TensorView& view) {
    return reinterpret_cast<uint64_t>(view.data) % kPackBytes == 0;
  });
}

// The address of head `head` of sequence `sequence`.
std::byte* at(const TensorView& view, const AttentionShape& s, int64_t sequence, int64_t head) {
  return view.data +
         (sequence * s.seq * view.row_stride + head * s.head_dim) * static_cast<int64_t>(size_bytes(view.dtype));
}

// A scratch address that libraries take: a multiple of 256.
std::byte* aligned(std::byte* p) {
  return reinterpret_cast<std::byte*>(ceil_div(reinterpret_cast<intptr_t>(p), 256) * 256);
}

void check_head_dim(const AttentionShape& s) {
  TRINE_CHECK(s.head_dim <= kMaxHeadDim, "attention of head_dim {}, at most {}", s.head_dim, kMaxHeadDim);
}

// cuDNN's graph as find(sdpa) answers, unless the user wishes otherwise; null: the plain kernels. They are so much
// slower that it is said, once for each reason; ConfigError where the user demands cuDNN.
template <typename Find>
SdpaGraph* fused_graph(CudaContext& c, int64_t scratch, Find&& find) {
  if (c.options.attention == AttentionKind::kPlain) return nullptr;
  std::string why_not;
  if (scratch < 0)
    why_not = "the plan has no workspace for it";
  else if (Sdpa* const sdpa = c.sdpa(why_not)) {
    if (SdpaGraph* const graph = usable(find(*sdpa), scratch, why_not)) return graph;
  }
  if (c.options.attention == AttentionKind::kCudnn)
    throw ConfigError(fmt::format(
        "[--attention] cudnn cannot be had: {}. Mend that, or leave --attention out for the plain kernels.",
        why_not));
  c.notices.insert(fmt::format(
      "[attention] no fused attention of cuDNN: {}. Plain kernels run instead, many times slower on long sequences "
      "(--attention plain takes them without this warning).",
      why_not));
  return nullptr;
}

Kernel forward(const ContextPtr& c, const KernelRequest& request) {
  const auto& op = dynamic_cast<const Attention&>(request.op);
  const TensorView &q = request.inputs[0], &k = request.inputs[1], &v = request.inputs[2];
  const AttentionShape shape = shape_of(q, k, op.seq, op.head_dim);
  const int64_t scratch = request.workspace_bytes - statistics_bytes(shape) - 256;
  const std::array strides{q.row_stride, k.row_stride, v.row_stride, request.outputs[0].row_stride};
  SdpaGraph* const graph = fused_graph(*c, scratch, [&](Sdpa& sdpa) -> const Sdpa::Answer& {
    return sdpa.forward(q.dtype, shape, strides, scratch);
  });
  if (graph == nullptr) check_head_dim(shape);
  return [c, shape, graph](const KernelCall& call) {
    const auto& i = call.inputs;   // q, k, v
    const auto& o = call.outputs;  // o, lse
    if (graph == nullptr || !in_packs(i) || !in_packs(o.first(1))) {
      attention_forward(c->compute(), i[0].dtype, shape, in(i[0]), in(i[1]), in(i[2]), out(o[0]), o[1].as<float>());
      return;
    }
    std::byte* const statistics = aligned(call.workspace.data());
    graph->run(c->compute(), std::array{i[0].data, i[1].data, i[2].data, o[0].data, statistics},
               statistics + statistics_bytes(shape));
    statistics_to_lse(c->compute(), shape, reinterpret_cast<const float*>(statistics), o[1].as<float>());
  };
}

// One call of the library for each part of the heads that its scratch allows. A part's statistics are contiguous:
// it has all heads of some sequences, or some heads of one.
void run_parts(const CudaContext& c, SdpaGraph& graph, const AttentionShape& shape, const AttentionPart& part,
               const KernelCall& call) {
  const auto& i = call.inputs;   // q, k, v, o, lse, do
  const auto& o = call.outputs;  // dq, dk, dv
  auto* const statistics = reinterpret_cast<float*>(aligned(call.workspace.data()));
  std::byte* const scratch = reinterpret_cast<std::byte*>(statistics) + statistics_bytes(shape);
  lse_to_statistics(c.compute(), shape, i[4].as<const float>(), statistics);
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t sequence = 0; sequence < shape.batch; sequence += part.sequences)
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; kv_head += part.kv_heads) {
      const auto of_queries = [&](const TensorView& view) { return at(view, shape, sequence, kv_head * group); };
      const auto of_keys = [&](const TensorView& view) { return at(view, shape, sequence, kv_head); };
      float* const lse = statistics + (sequence * shape.heads + kv_head * group) * shape.seq;
      graph.run(c.compute(),
                std::array{of_queries(i[0]), of_keys(i[1]), of_keys(i[2]), of_queries(i[3]),
                           reinterpret_cast<std::byte*>(lse), of_queries(i[5]), of_queries(o[0]), of_keys(o[1]),
                           of_keys(o[2])},
                scratch);
    }
}

Kernel backward(const ContextPtr& c, const KernelRequest& request) {
  const auto& op = dynamic_cast<const AttentionGrad&>(request.op);
  const auto& q = request.inputs[0];
  const AttentionShape shape = shape_of(q, request.inputs[1], op.seq, op.head_dim);
  TRINE_CHECK(statistics_bytes(shape) <= request.workspace_bytes, "attention_grad needs {} bytes, the plan has {}",
              statistics_bytes(shape), request.workspace_bytes);
  const int64_t scratch = request.workspace_bytes - statistics_bytes(shape) - 256;
  const AttentionPart part =
      attention_part(shape.batch, shape.seq, shape.heads, shape.kv_heads, kAttentionScoreLimit);
  AttentionShape at_once = shape;
  at_once.batch = part.sequences;
  at_once.heads = static_cast<int>(shape.heads / shape.kv_heads * part.kv_heads);
  at_once.kv_heads = static_cast<int>(part.kv_heads);
  std::vector<int64_t> strides;
  for (const TensorView& view : request.inputs)
    if (&view != &request.inputs[kLse]) strides.push_back(view.row_stride);
  for (const TensorView& view : request.outputs) strides.push_back(view.row_stride);
  SdpaGraph* const graph = fused_graph(*c, scratch, [&](Sdpa& sdpa) -> const Sdpa::Answer& {
    return sdpa.backward(q.dtype, at_once, strides, scratch);
  });
  if (graph == nullptr) check_head_dim(shape);
  return [c, shape, part, graph](const KernelCall& call) {
    const auto& i = call.inputs;   // q, k, v, o, lse, do
    const auto& o = call.outputs;  // dq, dk, dv
    if (graph != nullptr && in_packs(i.first(4)) && in_packs(i.subspan(5)) && in_packs(o))
      run_parts(*c, *graph, shape, part, call);
    else
      attention_backward(c->compute(), i[0].dtype, shape, in(i[0]), in(i[1]), in(i[2]), in(i[3]),
                         i[4].as<const float>(), in(i[5]), out(o[0]), out(o[1]), out(o[2]),
                         reinterpret_cast<float*>(call.workspace.data()));
  };
}

}  // namespace

void add_attention(KernelTable& table, const ContextPtr& c) {
  table.add("attention", [c](const KernelRequest& request) { return forward(c, request); });
  table.add("attention_grad", [c](const KernelRequest& request) { return backward(c, request); });
}

}  // namespace trine::cuda
