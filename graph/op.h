// An op: the handful of answers that the compiler demands. Ops are immutable and know shapes, gradients and costs;
// they know no rank, no memory and no library. Kernels (kernels/) know how to compute them.
#pragma once

#include <fmt/core.h>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/device.h"
#include "base/mesh.h"
#include "graph/ids.h"
#include "graph/index_map.h"
#include "graph/tensor_type.h"

namespace trine {

class Builder;
struct Node;

using Types = std::vector<TensorType>;
using TypeSpan = std::span<const TensorType>;

// What one rank does for one execution. Declared once, read by MFU, roofline, simulator and planner.
struct Cost {
  double flops = 0;
  int64_t bytes_read = 0, bytes_written = 0;
  int64_t wire_bytes = 0;  // sent by this rank, for collectives
};

// Attributes in the order in which describe() names them, for printing and dumps.
class Attributes {
 public:
  template <typename T>
  void operator()(std::string_view attribute, const T& value) {
    list_.emplace_back(attribute, fmt::format("{}", value));
  }
  const std::vector<std::pair<std::string, std::string>>& list() const { return list_; }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

// What recomputation (graph/passes/recompute.h) may do with outputs that backward reads.
enum class Rebuild : uint8_t {
  kDear,    // keeps them, unless it rebuilds the whole layer
  kCheap,   // many bytes for few FLOPs: selective recomputation drops them
  kAlways,  // never keeps them, because the inputs are smaller
};

// Two operands of a node that may share storage: an output written over an input that nobody reads later.
struct InPlace {
  int output, input;
};

class Op {
 public:
  virtual ~Op() = default;

  virtual std::string_view name() const = 0;

  // Operands, the indices they share, and linearity (graph/index_map.h). States that the op writes stand behind the
  // outputs: "x[n,k] dy[n,m] -> dw[m,k]" with one written state has no output value.
  virtual std::string index_map() const = 0;

  // Element types and shapes of the index map's outputs (placements are derived). Throws TypeError if the inputs'
  // types do not fit.
  virtual Types infer(TypeSpan inputs) const = 0;

  // Emits the nodes that compute the gradients of the inputs from those of the outputs (`dy`, an invalid id where
  // none flows). Returns one gradient per input, an invalid id for none. A parameter's gradient may instead be
  // accumulated right away into builder.accumulator(input), which then counts as returned.
  virtual std::vector<ValueId> vjp(Builder& builder, const Node& node, std::span<const ValueId> dy) const = 0;

  // Of the local shards; `outputs` includes the written states.
  virtual Cost cost(TypeSpan inputs, TypeSpan outputs, const Mesh& mesh) const = 0;

  virtual void describe(Attributes& attributes) const = 0;

  // --- answers with a default ---
  virtual int num_writes() const { return 0; }
  virtual std::vector<InPlace> in_place() const { return {}; }
  virtual Rebuild rebuild() const { return Rebuild::kDear; }
  // True: the one output is the one input's bytes with another placement; nothing is computed.
  virtual bool is_view() const { return false; }
  // True: it moves its one operand between stages, which owns the bytes until it has arrived.
  virtual bool is_transfer() const { return false; }
  // True: what it takes leaves the stage, and its gradient comes from outside: vjp is called without any dy.
  virtual bool leaves_stage() const { return false; }
  // The same op for another compute type, if it has no input that says which (null: the inputs say it).
  virtual std::shared_ptr<const Op> with_compute_type(DType) const { return nullptr; }
  // True: the outputs are column ranges of one row-major buffer, so that a product over all of them is one product.
  virtual bool outputs_side_by_side() const { return false; }
  // A fused op's meaning: emits plain ops that compute what it computes, bit for bit, and returns its outputs.
  // None: it is a plain op.
  virtual std::vector<ValueId> decompose(Builder&, std::span<const ValueId> /*inputs*/) const { return {}; }
  // Upper bound of the scratch memory a kernel may use.
  virtual int64_t workspace_bytes(TypeSpan, TypeSpan, const Mesh&, const Target&) const { return 0; }
  // Placements of the outputs on one axis; `map` is index_map(). Only collectives, which change placements, override it.
  virtual std::variant<std::vector<Placement>, std::string> place(const IndexMap& map,
                                                                  std::span<const Placement> inputs, Axis axis,
                                                                  const Mesh& mesh) const;
};

using OpPtr = std::shared_ptr<const Op>;

// Types that do not fit an op. The builder adds the op and its neighbourhood in the graph.
struct TypeError : std::logic_error {
  using std::logic_error::logic_error;
};

// The shared check of infer(): throws TypeError with both sides of the equation.
template <typename... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw TypeError(fmt::format(format, std::forward<Args>(args)...));
}

// Cost of an op that reads all its inputs and writes all its outputs once,
// with `flops_per_element` of its first output.
Cost streaming_cost(TypeSpan inputs, TypeSpan outputs, const Mesh& mesh, double flops_per_element);

// For ops that nobody differentiates (optimizer, gradients of gradients): calling their vjp is a bug.
std::vector<ValueId> no_vjp(const Op& op);

}  // namespace trine
