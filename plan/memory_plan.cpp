#include "plan/memory_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "plan/buffers.h"
#include "plan/happens_before.h"
#include "plan/memory_table.h"
#include "plan/packing.h"

namespace trine {
namespace {

struct Interval {
  int begin = 0, end = 0;  // actions, both included
};

// Slots by microbatch, such that intervals of one slot do not meet.
std::vector<int> assign_slots(const std::vector<Interval>& intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].begin < intervals[b].begin; });
  std::vector<int> slots(intervals.size()), busy_until;
  for (const size_t i : order) {
    const auto free =
        std::find_if(busy_until.begin(), busy_until.end(), [&](int end) { return end < intervals[i].begin; });
    slots[i] = static_cast<int>(free - busy_until.begin());
    if (free == busy_until.end())
      busy_until.push_back(intervals[i].end);
    else
      *free = intervals[i].end;
  }
  return slots;
}

class Planner {
 public:
  Planner(const Graph& graph, const Schedule& schedule, const Target& target, int send_slots)
      : graph_(graph),
        schedule_(schedule),
        order_(graph),
        target_(target),
        send_slots_(send_slots),
        buffers_(make_buffers(graph)) {
    plan_.device = target.device;
    plan_.values.resize(graph.values().size());
    for (const Action& action : schedule) num_microbatches_ = std::max(num_microbatches_, action.microbatch + 1);
    for (const Buffer& buffer : buffers_.all) spans_.push_back(order_.span(buffer.accesses));
    for (const Node& node : graph.nodes()) num_chunks_ = std::max(num_chunks_, node.chunk + 1);
  }

  MemoryPlan run() {
    place_states();
    double together = 0;
    for (const Buffer& buffer : buffers_.all) together += static_cast<double>(buffer.bytes);
    refuse_more_than_counts(together);
    place_buffers();
    reserve_workspace();
    return std::move(plan_);
  }

 private:
  // Far more than any machine has, and far from where 64 bits end.
  static void refuse_more_than_counts(double bytes) {
    if (bytes > 0x1p60)
      throw ConfigError(
          fmt::format("[memory] the plan needs {:.3g} bytes per rank; it can be 2^60 at most. Lower "
                      "--micro-batch or --seq, or make the model smaller.",
                      bytes));
  }

  void place_states() {
    plan_.state_offsets.assign(graph_.states().size(), -1);
    std::map<StateRole, int64_t> bytes_by_role;
    for (const bool scalars : {true, false})  // together: the host copies those of a step at once
      for (size_t i = 0; i < graph_.states().size(); ++i) {
        const State& state = graph_.states()[i];
        if (state.storage.valid() || (state.role == StateRole::kScalar) != scalars) continue;
        const int64_t bytes = local_bytes(state.type, graph_.mesh());
        plan_.state_offsets[i] = plan_.states_bytes;
        use(plan_.states_bytes, bytes);
        plan_.states_bytes += round_up(bytes, kBufferAlignment);
        bytes_by_role[state.role] += round_up(bytes, kBufferAlignment);
      }
    for (size_t i = 0; i < graph_.states().size(); ++i)
      plan_.state_offsets[i] = state_offset({static_cast<int32_t>(i)});
    static const std::map<StateRole, std::pair<const char*, const char*>> names = {
        {StateRole::kParameter, {"weights", "weights (compute copy)"}},
        {StateRole::kGradient, {"gradients", "gradients (accumulated)"}},
        {StateRole::kMaster, {"Adam", "Adam: master weights"}},
        {StateRole::kMomentum, {"Adam", "Adam: momentum"}},
        {StateRole::kVariance, {"Adam", "Adam: variance"}},
        {StateRole::kBatch, {"step", "samples of a step"}},
        {StateRole::kScalar, {"step", "step scalars"}},
        {StateRole::kCache, {"step", "caches"}},
        {StateRole::kBuffer, {"step", "received states"}}};
    for (const auto& [role, bytes] : bytes_by_role)
      plan_.table.push_back({names.at(role).first, names.at(role).second, bytes});
  }

  int64_t state_offset(StateId id) const {  // a view may lie in a view (a tied head in an embedding in a bucket)
    const State& state = graph_[id];
    if (!state.storage.valid()) return plan_.state_offsets[static_cast<size_t>(id.index)];
    return state_offset(state.storage) + state.offset * static_cast<int64_t>(size_bytes(state.type.dtype));
  }

  bool conflict(size_t a, size_t b) const {
    const std::vector<NodeId>&x = buffers_.all[a].accesses, &y = buffers_.all[b].accesses;
    if (graph_[x[0]].region != graph_[y[0]].region) return false;
    return !HappensBefore::before(spans_[a], spans_[b]) && !HappensBefore::before(spans_[b], spans_[a]);
  }

  int chunk_of(const Buffer& buffer) const { return graph_[buffer.accesses[0]].chunk; }

  // The actions of each microbatch, in the order of the schedule, that run `phase` of a chunk.
  std::vector<int> actions_of(int chunk, Phase phase) const {
    std::vector<int> actions(static_cast<size_t>(num_microbatches_), -1);
    for (size_t i = 0; i < schedule_.size(); ++i) {
      const Action& action = schedule_[i];
      if (action.stage / graph_.mesh().pp != chunk) continue;
      const bool runs = phase == Phase::kForward ? action.kind == ActionKind::kForward
                        : phase == Phase::kInputGrad
                            ? action.kind == ActionKind::kInputGrad || action.kind == ActionKind::kBackward
                            : action.kind == ActionKind::kWeightGrad || action.kind == ActionKind::kBackward;
      if (runs) actions[static_cast<size_t>(action.microbatch)] = static_cast<int>(i);
    }
    return actions;
  }

  // The first and the last phase that accesses them.
  std::pair<Phase, Phase> span_of(const std::vector<size_t>& members) const {
    Phase first = Phase::kWeightGrad, last = Phase::kForward;
    for (const size_t member : members)
      for (const NodeId id : buffers_.all[member].accesses)
        first = std::min(first, graph_[id].phase), last = std::max(last, graph_[id].phase);
    return {first, last};
  }

  // From which action to which each microbatch needs these buffers of a chunk;
  // `ahead` actions earlier for what is posted then.
  std::vector<Interval> lifetimes(const std::vector<size_t>& members, int chunk, int ahead) const {
    const auto [first, last] = span_of(members);
    const std::vector<int> begins = actions_of(chunk, first), ends = actions_of(chunk, last);
    std::vector<Interval> intervals;
    for (size_t m = 0; m < begins.size(); ++m) intervals.push_back({std::max(0, begins[m] - ahead), ends[m]});
    return intervals;
  }

  void place_buffers() {
    for (int chunk = 0; chunk < num_chunks_; ++chunk) {
      const std::vector<size_t> kept = select(BufferKind::kKept, chunk);
      if (kept.empty()) continue;
      std::vector<int> slots = assign_slots(lifetimes(kept, chunk, 0));
      const bool one = num_chunks_ == 1 && *std::max_element(slots.begin(), slots.end()) == 0;
      if (one) return place_as_one(kept);
      // Where backward is split, what only I or only W needs has slots for as many microbatches as wait for that.
      std::map<std::pair<Phase, Phase>, std::vector<size_t>> by_span;
      for (const size_t buffer : kept) by_span[span_of({buffer})].push_back(buffer);
      for (const auto& [span, members] : by_span)
        add_pool("activations", members, assign_slots(lifetimes(members, chunk, 0)));
    }
    for (size_t i = 0; i < buffers_.all.size(); ++i)
      if (buffers_.all[i].kind == BufferKind::kReceived)
        add_pool("received", {i}, assign_slots(lifetimes({i}, chunk_of(buffers_.all[i]), 1)));
    for (size_t i = 0; i < buffers_.all.size(); ++i)
      if (buffers_.all[i].kind == BufferKind::kSent) add_pool("sent", {i}, in_turn(buffers_.all[i]));
    add_pool("transients", select(BufferKind::kTransient, -1), {});
  }

  // With one microbatch in flight it runs forward and backward before the next one begins: what is kept and what is
  // not may share bytes.
  void place_as_one(std::vector<size_t> members) {
    for (size_t i = 0; i < buffers_.all.size(); ++i) {
      if (buffers_.all[i].kind == BufferKind::kTransient) members.push_back(i);
      if (buffers_.all[i].kind == BufferKind::kReceived)
        add_pool("received", {i}, assign_slots(lifetimes({i}, chunk_of(buffers_.all[i]), 1)));
      if (buffers_.all[i].kind == BufferKind::kSent) add_pool("sent", {i}, in_turn(buffers_.all[i]));
    }
    std::sort(members.begin(), members.end());
    add_pool("activations", members, {});
  }

  std::vector<size_t> select(BufferKind kind, int chunk) const {
    std::vector<size_t> members;
    for (size_t i = 0; i < buffers_.all.size(); ++i)
      if (buffers_.all[i].kind == kind && (chunk < 0 || chunk_of(buffers_.all[i]) == chunk)) members.push_back(i);
    return members;
  }

  // The slots of a sent value, one after another in the order of the sends.
  std::vector<int> in_turn(const Buffer& buffer) const {
    const Node& node = graph_[buffer.accesses[0]];
    const std::vector<int> actions = actions_of(node.chunk, node.phase);
    std::vector<size_t> order(actions.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return actions[a] < actions[b]; });
    std::vector<int> slots(actions.size());
    for (size_t k = 0; k < order.size(); ++k) slots[order[k]] = static_cast<int>(k) % send_slots_;
    return slots;
  }

  void add_pool(const std::string& name, const std::vector<size_t>& members, std::vector<int> slots) {
    if (members.empty()) return;
    std::vector<int64_t> sizes;
    for (size_t member : members) sizes.push_back(buffers_.all[member].bytes);
    const Packing packing = pack(sizes, [&](size_t a, size_t b) { return conflict(members[a], members[b]); });
    Pool pool{.name = name, .begin = plan_.workspace_begin(), .slot_bytes = packing.total};
    if (!slots.empty()) pool.num_slots = *std::max_element(slots.begin(), slots.end()) + 1;
    pool.slot_of_microbatch = std::move(slots);
    refuse_more_than_counts(static_cast<double>(pool.begin) +
                            static_cast<double>(pool.slot_bytes) * pool.num_slots);

    std::map<size_t, int64_t> offset_of;
    for (size_t i = 0; i < members.size(); ++i) {
      offset_of[members[i]] = packing.offsets[i];
      for (int slot = 0; slot < pool.num_slots; ++slot)
        use(pool.begin + slot * pool.slot_bytes + packing.offsets[i], sizes[i]);
    }
    for (size_t v = 0; v < buffers_.of_value.size(); ++v) {
      if (graph_.values()[v].state.valid() || !offset_of.contains(buffers_.of_value[v].buffer)) continue;
      plan_.values[v] = {static_cast<int>(plan_.pools.size()),
                         offset_of[buffers_.of_value[v].buffer] + buffers_.of_value[v].offset,
                         buffers_.of_value[v].row_stride};
    }
    std::vector<const Buffer*> described;
    for (const size_t member : members) described.push_back(&buffers_.all[member]);
    describe_pool(graph_, pool, described, plan_.table);
    plan_.pools.push_back(std::move(pool));
  }

  void reserve_workspace() {
    for (const Node& node : graph_.nodes())
      plan_.workspace_bytes = std::max(
          plan_.workspace_bytes,
          round_up(
              node.op->workspace_bytes(graph_.input_types(node), graph_.output_types(node), graph_.mesh(), target_),
              kBufferAlignment));
    use(plan_.workspace_begin(), plan_.workspace_bytes);
    plan_.table.push_back({"workspace", "workspace of kernels", plan_.workspace_bytes});
  }

  void use(int64_t begin, int64_t bytes) { plan_.used.push_back({begin, begin + bytes}); }

  const Graph& graph_;
  const Schedule& schedule_;
  const HappensBefore order_;
  const Target target_;
  const int send_slots_;
  const Buffers buffers_;
  std::vector<HappensBefore::Span> spans_;  // of the buffers' accesses
  int num_microbatches_ = 0, num_chunks_ = 1;
  MemoryPlan plan_;
};

}  // namespace

void MemoryPlan::set_workspace(int64_t bytes) {
  workspace_bytes = round_up(bytes, kBufferAlignment);
  used.back().end = total_bytes();
  table.back().bytes = workspace_bytes;
}

MemoryPlan plan_memory(const Graph& graph, const Schedule& schedule, const Target& target, int send_slots) {
  return Planner(graph, schedule, target, send_slots).run();
}

}  // namespace trine
