#include "tests/reference/interpreter.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "ops/collective.h"

namespace trine::reference {
namespace {

Tensor pad(const Tensor& part, int dim, int64_t begin, int64_t extent) {
  Shape before = part.shape, after = part.shape;
  before[dim] = begin;
  after[dim] = extent - begin - part.shape[dim];
  return concatenate({Tensor(before), part, Tensor(after)}, dim);
}

// `group`: the shards of the ranks along the collective's axis; returns that of the rank at `index`.
Tensor run_collective(const Collective& op, const std::vector<Tensor>& group, int index, int64_t split_extent) {
  const int64_t count = static_cast<int64_t>(group.size());
  const auto part = [&](const Tensor& whole) {
    const int64_t extent = whole.shape[op.change.to.dim];
    return slice(whole, op.change.to.dim, split_begin(extent, count, index), split_size(extent, count, index));
  };
  const auto sum = [&] {
    Tensor total = group[0];
    for (size_t i = 1; i < group.size(); ++i) total = total + group[i];
    return total;
  };
  const Tensor& own = group[static_cast<size_t>(index)];
  switch (op.kind()) {
    case CollectiveKind::kEnter:
      return own;
    case CollectiveKind::kAllReduce:
      return sum();
    case CollectiveKind::kAllGather:
      return concatenate(group, op.change.from.dim);
    case CollectiveKind::kReduceScatter:
      return part(sum());
    case CollectiveKind::kSlice:
      return part(own);
    case CollectiveKind::kPad:
      return pad(own, op.change.from.dim, split_begin(split_extent, count, index), split_extent);
  }
  return own;
}

}  // namespace

Interpreter::Interpreter(Graph graph) : graph_(std::move(graph)), values_(graph_.values().size()) {
  std::set<StateId> storages;  // of other states, with padding between them that is zero
  for (const State& state : graph_.states()) {
    states_.push_back(zeros(state.type));
    storages.insert(state.storage);
  }
  for (size_t i = 0; i < graph_.states().size(); ++i) {
    const StateId id{static_cast<int32_t>(i)};
    if (graph_[id].role != StateRole::kGradient || storages.contains(id)) continue;
    Shards shards = load(id);
    for (Tensor& shard : shards)
      std::fill(shard.data.begin(), shard.data.end(), std::numeric_limits<double>::quiet_NaN());
    store(id, shards);
  }
}

Interpreter::Shards Interpreter::zeros(const TensorType& type) const {
  Shards shards;
  for (int rank = 0; rank < graph_.mesh().num_ranks(); ++rank)
    shards.emplace_back(local_shape(type, graph_.mesh(), graph_.mesh().coordinate(rank)));
  return shards;
}

// A state that lives in another's storage is a range of its elements, on every rank: the state that owns the
// storage, and where the range begins there.
std::pair<StateId, int64_t> Interpreter::home(StateId id, size_t rank) const {
  int64_t first = 0;
  for (; graph_[id].storage.valid(); id = graph_[id].storage)
    first += graph_.first_element(id, graph_.mesh().coordinate(static_cast<int>(rank)));
  return {id, first};
}

Interpreter::Shards Interpreter::load(StateId id) const {
  Shards parts = zeros(graph_[id].type);
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const auto [owner, first] = home(id, rank);
    const Tensor& whole = states_[static_cast<size_t>(owner.index)][rank];
    std::copy_n(whole.data.begin() + first, parts[rank].size(), parts[rank].data.begin());
  }
  return parts;
}

void Interpreter::store(StateId id, const Shards& shards) {
  for (size_t rank = 0; rank < shards.size(); ++rank) {
    const auto [owner, first] = home(id, rank);
    Tensor& whole = states_[static_cast<size_t>(owner.index)][rank];
    std::copy(shards[rank].data.begin(), shards[rank].data.end(), whole.data.begin() + first);
  }
}

Interpreter::Shards Interpreter::read(ValueId id) const {
  const Value& value = graph_[id];
  const Shards shards = value.state.valid() ? load(value.state) : values_[static_cast<size_t>(id.index)];
  TRINE_CHECK(!shards.empty(), "value {} was not computed", id.index);
  return shards;
}

void Interpreter::set(std::string_view name, const Tensor& logical) {
  const StateId id = graph_.state_named(name);
  Shards shards;
  for (int rank = 0; rank < graph_.mesh().num_ranks(); ++rank) {
    const Coordinate coordinate = graph_.mesh().coordinate(rank);
    shards.push_back(shard(logical, graph_[id].type, graph_.mesh(), coordinate));
    const Shape want = local_shape(graph_[id].type, graph_.mesh(), coordinate);
    TRINE_CHECK(shards.back().shape == want, "{} of {} makes a shard {}, not {}", to_string(logical.shape), name,
                to_string(shards.back().shape), to_string(want));
  }
  store(id, shards);
}

Tensor Interpreter::get(std::string_view name) const {
  const StateId id = graph_.state_named(name);
  return unshard(load(id), graph_[id].type, graph_.mesh());
}

Tensor Interpreter::get(ValueId value) const { return unshard(read(value), graph_[value].type, graph_.mesh()); }

void Interpreter::run(const Node& node, int microbatch) {
  const Mesh& mesh = graph_.mesh();
  const Types in_types = graph_.input_types(node), out_types = graph_.output_types(node);
  std::vector<Shards> in, out;
  for (ValueId id : node.inputs) in.push_back(read(id));
  for (ValueId id : node.outputs) out.push_back(zeros(graph_[id].type));
  for (StateId id : node.writes) out.push_back(load(id));

  const auto is_written = [&](StateId state) { return written_.contains(state); };
  const bool first_write = std::none_of(node.writes.begin(), node.writes.end(), is_written);
  TRINE_CHECK(first_write || std::all_of(node.writes.begin(), node.writes.end(), is_written),
              "{} writes some states for the first time, others not", node.op->name());
  written_.insert(node.writes.begin(), node.writes.end());

  const auto* collective = dynamic_cast<const Collective*>(node.op.get());
  for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
    const Coordinate coordinate = mesh.coordinate(rank);
    const size_t r = static_cast<size_t>(rank);
    if (collective) {
      Shards group;
      for (int peer : mesh.group(coordinate, collective->axis)) group.push_back(in[0][static_cast<size_t>(peer)]);
      const int dim = std::max<int>(0, collective->change.from.dim);
      out[0][r] = run_collective(*collective, group, coordinate[collective->axis], in_types[0].shape[dim]);
      continue;
    }
    Call call{.op = *node.op,
              .in_types = in_types,
              .out_types = out_types,
              .mesh = mesh,
              .coordinate = coordinate,
              .microbatch = microbatch,
              .first_write = first_write,
              .host = &host_,
              .in = {},
              .out = {}};
    for (const Shards& shards : in) call.in.push_back(&shards[r]);
    for (Shards& shards : out) call.out.push_back(&shards[r]);
    reference_ops().at(node.op->name())(call);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
      const Shape want = local_shape(out_types[i], mesh, mesh.coordinate(rank)),
                  got = out[i][static_cast<size_t>(rank)].shape;
      TRINE_CHECK(got == want, "{} made {} on rank {}, its type says {}", node.op->name(), to_string(got), rank,
                  to_string(want));
    }
    (void)unshard(out[i], out_types[i], mesh);  // checks that copies are equal
    if (i < node.outputs.size())
      values_[static_cast<size_t>(node.outputs[i].index)] = out[i];
    else
      store(node.writes[i - node.outputs.size()], out[i]);
  }
}

void Interpreter::run_step(int num_microbatches) {
  const auto run_region = [&](Region region, int microbatch) {
    for (const Node& node : graph_.nodes())
      if (node.region == region) run(node, microbatch);
  };
  written_.clear();
  run_region(Region::kPrologue, 0);
  for (int microbatch = 0; microbatch < num_microbatches; ++microbatch) run_region(Region::kMicrobatch, microbatch);
  run_region(Region::kEpilogue, 0);
}

}  // namespace trine::reference
