// One pipeline stage's program: states (all that is mutable), values (each written once) and nodes in program
// order. A graph is built once and never changed after; a pass makes a new one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/mesh.h"
#include "base/trace_event.h"
#include "graph/ids.h"
#include "graph/op.h"
#include "graph/tensor_type.h"

namespace trine {

// prologue: once per step, before; microbatch: m times; epilogue: once per step, after.
enum class Region : uint8_t { kPrologue, kMicrobatch, kEpilogue };
// Of the microbatch region: forward, backward of inputs, backward of weights.
enum class Phase : uint8_t { kForward, kInputGrad, kWeightGrad };
std::string_view name(Region region);
char letter(Phase phase);  // 'F', 'I', 'W'

enum class StateRole : uint8_t {
  kParameter,
  kGradient,
  kMaster,
  kMomentum,
  kVariance,
  kBatch,
  kScalar,
  kCache,
  kBuffer,
  kView
};
std::string_view name(StateRole role);

// kView: a state's storage again, with another placement (a gradient before and after its reduction).

// How a parameter starts. Element i of logical tensor `name` is a pure function of (seed, name, i).
struct Initializer {
  enum class Kind : uint8_t { kZeros, kOnes, kNormal } kind = Kind::kZeros;
  float stddev = 0;
};

// A tied embedding that two pipeline ranks use: the first owns it, the last has a copy, which the epilogue keeps
// equal and which does not count (norm, parameters, checkpoint).
enum class Tie : uint8_t { kNone, kOwner, kCopy };

struct State {
  std::string name;
  TensorType type;
  StateRole role = StateRole::kScalar;
  Initializer init;           // parameters
  bool weight_decay = false;  // parameters
  Tie tie = Tie::kNone;       // parameters, and their buckets
  StateId parameter;          // gradients, masters, moments: of which parameter (or bucket of parameters)
  // A state may be elements [offset, offset + size) of another's storage (a parameter in its
  // bucket), in local elements.
  StateId storage;
  int64_t offset = 0;
  ValueId value;  // how nodes read it
};

struct Value {
  TensorType type;
  NodeId producer;  // invalid for a state
  StateId state;    // invalid for a node's output
  std::string name;
};

struct Node {
  OpPtr op;
  std::vector<ValueId> inputs;  // states are read through their value
  std::vector<ValueId> outputs;
  std::vector<StateId> writes;    // read-modify-write, unless the op says that the first write of a step overwrites
  std::vector<InPlace> in_place;  // decided by the in-place pass
  std::string scope;              // "layers.3.attention"
  Region region = Region::kMicrobatch;
  Phase phase = Phase::kForward;
  int chunk = 0;  // of the rank's model chunks (interleaved schedules), in the microbatch region
  Lane lane = Lane::kCompute;
  bool recompute = false;     // a clone that rebuilds what forward dropped
  std::vector<NodeId> waits;  // nodes of other lanes that must have finished (of the microbatch
                              // region: for the last microbatch)
};

// A value and its gradient, kept so that the verifier can check that their placements are dual.
struct GradientPair {
  ValueId value, gradient;
};

class Graph {
 public:
  Graph() = default;
  explicit Graph(Mesh mesh) : mesh_(mesh) {}

  const Mesh& mesh() const { return mesh_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<State>& states() const { return states_; }
  const std::vector<GradientPair>& gradients() const { return gradients_; }
  const Node& operator[](NodeId id) const { return nodes_.at(static_cast<size_t>(id.index)); }
  const Value& operator[](ValueId id) const { return values_.at(static_cast<size_t>(id.index)); }
  const State& operator[](StateId id) const { return states_.at(static_cast<size_t>(id.index)); }

  StateId find_state(std::string_view name) const;   // invalid if there is none
  StateId state_named(std::string_view name) const;  // CHECKs that there is one
  // The gradient, master, momentum or variance of a parameter (or bucket); invalid if there is none.
  StateId companion(StateId parameter, StateRole role) const;
  Types input_types(const Node& node) const;
  Types output_types(const Node& node) const;  // the written states stand behind the outputs
  Cost cost(NodeId id) const;
  // Where a state begins in its storage, in local elements: its offset, and for a state that is split over an axis
  // where its storage is not, the begin of this rank's shard.
  int64_t first_element(StateId state, Coordinate coordinate) const;
  // The node that reads each value last, through views too, -1 if none reads it.
  std::vector<int> last_uses() const;

 private:
  friend class Builder;
  Mesh mesh_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::vector<State> states_;
  std::vector<GradientPair> gradients_;
};

}  // namespace trine
