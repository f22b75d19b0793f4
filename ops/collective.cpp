#include "ops/collective.h"

#include "base/error.h"
#include "graph/builder.h"

namespace trine {

Collective::Collective(Axis mesh_axis, Transition transition, int dims, bool writes_state)
    : axis(mesh_axis), change(transition), num_dims(dims), into_state(writes_state) {
  TRINE_CHECK(collective_between(change.from, change.to).has_value(), "no collective turns {} into {}",
              to_string(change.from), to_string(change.to));
}

CollectiveKind Collective::kind() const { return *collective_between(change.from, change.to); }

bool Collective::is_local() const {
  return kind() == CollectiveKind::kEnter || kind() == CollectiveKind::kSlice || kind() == CollectiveKind::kPad;
}

std::string_view Collective::name() const {
  switch (kind()) {
    case CollectiveKind::kEnter:
      return "enter";
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kSlice:
      return "slice";
    case CollectiveKind::kPad:
      return "pad";
  }
  return "collective";
}

std::string Collective::index_map() const {
  const char* dims = num_dims == 1 ? "[a]" : num_dims == 2 ? "[a,b]" : "[a,b,c]";
  return fmt::format("x{} -> y{} : x", dims, dims);
}

std::vector<InPlace> Collective::in_place() const {
  if (kind() == CollectiveKind::kAllReduce && !into_state) return {{0, 0}};
  return {};
}

std::vector<ValueId> Collective::vjp(Builder& b, const Node&, std::span<const ValueId> dy) const {
  return {b.add(Collective(axis, transpose(change), num_dims), {dy[0]})};
}

// Bytes that one rank sends with bandwidth-optimal algorithms (Thakur et al. 2005; Patarasuk & Yuan 2009).
Cost Collective::cost(TypeSpan in, TypeSpan out, const Mesh& mesh) const {
  const int64_t received = local_bytes(in[0], mesh), given = local_bytes(out[0], mesh), n = mesh[axis];
  Cost cost{.flops = 0, .bytes_read = received, .bytes_written = given};
  switch (kind()) {
    case CollectiveKind::kAllReduce:
      cost.wire_bytes = 2 * received * (n - 1) / n;
      break;
    case CollectiveKind::kReduceScatter:
      cost.wire_bytes = received * (n - 1) / n;
      break;
    case CollectiveKind::kAllGather:
      cost.wire_bytes = received * (n - 1);
      break;
    case CollectiveKind::kEnter:
      cost.bytes_read = cost.bytes_written = 0;
      break;
    case CollectiveKind::kSlice:
      cost.bytes_read = given;
      break;
    case CollectiveKind::kPad:
      break;
  }
  if (in[0].dtype == DType::kF32) cost.wire_bytes = cost.wire_bytes / 4 * static_cast<int64_t>(size_bytes(wire));
  return cost;
}

void Collective::describe(Attributes& a) const {
  a("axis", trine::name(axis));
  if (wire != DType::kF32) a("wire", trine::name(wire));
  a("change", to_string(change.from) + "->" + to_string(change.to));
}

// A gathered value is as large as all shards together; what enter gives is its input's bytes again.
Rebuild Collective::rebuild() const {
  if (change.from.is(PlacementKind::kSplit) && change.to.is(PlacementKind::kReplicated)) return Rebuild::kAlways;
  return kind() == CollectiveKind::kEnter ? Rebuild::kCheap : Rebuild::kDear;
}

std::variant<std::vector<Placement>, std::string> Collective::place(const IndexMap&, std::span<const Placement> in,
                                                                    Axis on, const Mesh&) const {
  if (on != axis) return std::vector{in[0]};
  if (in[0] != change.from)
    return fmt::format("{} takes {} on {}, got {}", name(), to_string(change.from), trine::name(on),
                       to_string(in[0]));
  return std::vector{change.to};
}

}  // namespace trine
