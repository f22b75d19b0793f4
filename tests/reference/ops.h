// An f64 implementation of every op but the collectives, written from the formulas as plain loops: what kernels are
// compared with, and what the interpreter runs.
#pragma once

#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include "graph/op.h"
#include "tests/reference/tensor.h"

namespace trine::reference {

// What a step gets from the host.
struct HostInputs {
  Tensor ids, labels;  // of all dp ranks: [dp * M * N]
  double lr = 0, loss_scale = 1;
};

// One execution of an op by one rank.
struct Call {
  const Op& op;
  Types in_types, out_types;  // logical, with placements
  Mesh mesh;
  Coordinate coordinate;
  int microbatch = 0;
  bool first_write = true;  // of this step: accumulators overwrite
  const HostInputs* host = nullptr;
  std::vector<const Tensor*> in;  // local shards
  std::vector<Tensor*> out;       // of their local shapes; written states stand last and hold their old values

  const Tensor& x(size_t i) const { return *in.at(i); }
  Tensor& y(size_t i) const { return *out.at(i); }
  template <typename OpType>
  const OpType& as() const {
    return dynamic_cast<const OpType&>(op);
  }
};

using ReferenceOp = std::function<void(const Call&)>;

// By op name.
const std::map<std::string_view, ReferenceOp>& reference_ops();

// Runs `op` on whole tensors, on one rank; types are taken from `in_types`. Returns outputs and written states,
// which start as `states` (zeros if empty) and are overwritten by accumulators at microbatch 0.
std::vector<Tensor> run_op(const Op& op, const Types& in_types, const std::vector<Tensor>& in,
                           std::vector<Tensor> states = {}, int microbatch = 0);

// First logical index along `dim` that this rank holds.
int64_t local_begin(const TensorType& type, int dim, const Mesh& mesh, Coordinate coordinate);

// The parts of the table, a source file each.
void add_layer_ops(std::map<std::string_view, ReferenceOp>& table);
void add_attention_ops(std::map<std::string_view, ReferenceOp>& table);
void add_loss_ops(std::map<std::string_view, ReferenceOp>& table);
void add_step_ops(std::map<std::string_view, ReferenceOp>& table);

}  // namespace trine::reference
