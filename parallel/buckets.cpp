#include "parallel/buckets.h"

#include "base/error.h"
#include "graph/builder.h"

namespace trine {
namespace {

struct Bucket {
  std::vector<StateId> parameters;
  std::vector<int64_t> offsets;
  int64_t elements = 0;
};

// Parameters may share a bucket if the optimizer and the collectives treat them alike.
bool alike(const State& a, const State& b) {
  if (a.tie != Tie::kNone || b.tie != Tie::kNone) return false;  // both ranks must see the same bucket
  if (a.weight_decay != b.weight_decay || a.type.dtype != b.type.dtype) return false;
  for (Axis axis : kAxes)
    if (a.type.on(axis).kind != b.type.on(axis).kind) return false;
  return true;
}

std::vector<Bucket> group_parameters(const Graph& graph, const BucketOptions& options) {
  std::vector<Bucket> open;
  for (size_t i = 0; i < graph.states().size(); ++i) {
    const State& state = graph.states()[i];
    if (state.role != StateRole::kParameter || state.storage.valid()) continue;
    const int64_t elements = round_up(local_shape(state.type, graph.mesh()).num_elements(), kBucketAlignment);
    Bucket* home = nullptr;
    for (Bucket& bucket : open)
      if (alike(graph[bucket.parameters[0]], state) && bucket.elements + elements <= options.max_elements)
        home = &bucket;
    if (home == nullptr) home = &open.emplace_back();
    home->parameters.push_back({static_cast<int32_t>(i)});
    home->offsets.push_back(home->elements);
    home->elements += elements;
  }
  return open;
}

// The bucket's type: on an axis where its parameters are split, every rank holds one share of a logical vector.
TensorType bucket_type(const Graph& graph, const Bucket& bucket, DType dtype) {
  const State& first = graph[bucket.parameters[0]];
  TensorType type{dtype, {bucket.elements}};
  for (Axis axis : kAxes) {
    type.on(axis) = first.type.on(axis);
    if (!type.on(axis).is(PlacementKind::kSplit)) continue;
    type.on(axis) = Placement::split(0);
    type.shape[0] *= graph.mesh()[axis];
  }
  return type;
}

// Masters and moments: one copy counts where weights are replicated; with ZeRO-1 a share of it per dp rank.
TensorType optimizer_type(TensorType weights, bool shard_over_dp) {
  weights.dtype = DType::kF32;
  for (Axis axis : kAxes)
    if (weights.on(axis).is(PlacementKind::kReplicated)) weights.on(axis) = Placement::invariant();
  if (shard_over_dp) weights.on(Axis::kDp) = Placement::split(0);
  return weights;
}

void make_states(Builder& builder, const Bucket& bucket, size_t index, bool shard_over_dp) {
  const Graph& graph = builder.graph();
  const State first = graph[bucket.parameters[0]];
  const auto add = [&](const char* what, StateRole role, TensorType type, StateId weights) {
    return builder.add_state({.name = fmt::format("bucket.{}.{}", index, what),
                              .type = std::move(type),
                              .role = role,
                              .init = {},
                              .weight_decay = first.weight_decay,
                              .tie = first.tie,
                              .parameter = weights});
  };
  const TensorType weights_type = bucket_type(graph, bucket, first.type.dtype);
  const TensorType f32 = optimizer_type(weights_type, shard_over_dp);
  TensorType gradient_type = bucket_type(graph, bucket, DType::kF32);
  for (Axis axis : kAxes) gradient_type.on(axis) = dual(gradient_type.on(axis));
  const StateId weights = add("weights", StateRole::kParameter, weights_type, {});
  const StateId gradient = add("grad", StateRole::kGradient, gradient_type, weights);
  if (first.tie != Tie::kCopy) {
    add("master", StateRole::kMaster, f32, weights);
    add("momentum", StateRole::kMomentum, f32, weights);
    add("variance", StateRole::kVariance, f32, weights);
  }
  for (size_t i = 0; i < bucket.parameters.size(); ++i) {
    const StateId own_gradient = graph.companion(bucket.parameters[i], StateRole::kGradient);
    for (auto [view, storage] : {std::pair{bucket.parameters[i], weights}, std::pair{own_gradient, gradient}}) {
      if (!view.valid()) continue;
      builder.state(view).storage = storage;
      builder.state(view).offset = bucket.offsets[i];
    }
  }
}

}  // namespace

Graph assign_buckets(Graph graph, const BucketOptions& options) {
  std::vector<Bucket> groups = group_parameters(graph, options);
  const bool shard = options.shard_over_dp && graph.mesh().dp > 1;
  const int64_t multiple = kBucketAlignment * (shard ? graph.mesh().dp : 1);  // shares end on blocks of the norm
  Builder builder(std::move(graph));
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i].elements = round_up(groups[i].elements, multiple);
    make_states(builder, groups[i], i, shard);
  }
  return builder.finish();
}

std::vector<StateId> buckets(const Graph& graph) {
  std::vector<bool> has_master(graph.states().size());
  for (const State& state : graph.states())
    if (state.role == StateRole::kMaster && state.parameter.valid())
      has_master[static_cast<size_t>(state.parameter.index)] = true;
  std::vector<StateId> list;
  for (size_t i = 0; i < graph.states().size(); ++i)
    if (graph.states()[i].role == StateRole::kParameter && has_master[i]) list.push_back({static_cast<int32_t>(i)});
  return list;
}

StateId tied_copy(const Graph& graph) {
  for (size_t i = 0; i < graph.states().size(); ++i) {
    const State& state = graph.states()[i];
    if (state.role == StateRole::kParameter && state.tie == Tie::kCopy && !state.storage.valid())
      return {static_cast<int32_t>(i)};
  }
  return {};
}

std::vector<StateId> parameters_in(const Graph& graph, StateId bucket) {
  std::vector<StateId> list;
  for (size_t i = 0; i < graph.states().size(); ++i) {
    const State& state = graph.states()[i];
    if (state.role == StateRole::kParameter && state.storage == bucket) list.push_back({static_cast<int32_t>(i)});
  }
  return list;
}

}  // namespace trine
