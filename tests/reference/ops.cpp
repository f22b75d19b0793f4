#include "tests/reference/ops.h"

#include "base/error.h"
#include "graph/builder.h"

namespace trine::reference {

const std::map<std::string_view, ReferenceOp>& reference_ops() {
  static const std::map<std::string_view, ReferenceOp> table = [] {
    std::map<std::string_view, ReferenceOp> ops;
    add_layer_ops(ops);
    add_attention_ops(ops);
    add_loss_ops(ops);
    add_step_ops(ops);
    return ops;
  }();
  return table;
}

std::vector<Tensor> run_op(const Op& op, const Types& in_types, const std::vector<Tensor>& in,
                           std::vector<Tensor> states, int microbatch) {
  const Mesh mesh;
  Call call{.op = op,
            .in_types = in_types,
            .out_types = infer_types(op, in_types, mesh),
            .mesh = mesh,
            .coordinate = {},
            .microbatch = microbatch,
            .first_write = microbatch == 0,
            .host = nullptr,
            .in = {},
            .out = {}};
  const size_t num_outputs = call.out_types.size() - static_cast<size_t>(op.num_writes());
  std::vector<Tensor> out;
  for (size_t i = 0; i < call.out_types.size(); ++i)
    out.push_back(i >= num_outputs && !states.empty() ? std::move(states.at(i - num_outputs))
                                                      : Tensor(call.out_types[i].shape));
  for (const Tensor& tensor : in) call.in.push_back(&tensor);
  for (Tensor& tensor : out) call.out.push_back(&tensor);
  reference_ops().at(op.name())(call);
  return out;
}

int64_t local_begin(const TensorType& type, int dim, const Mesh& mesh, Coordinate coordinate) {
  int64_t begin = 0, extent = type.shape[dim];
  for (Axis axis : kAxes) {
    const Placement p = type.on(axis);
    if (!p.is(PlacementKind::kSplit) || p.batch || p.dim != dim) continue;
    begin += split_begin(extent, mesh[axis], coordinate[axis]);
    extent = split_size(extent, mesh[axis], coordinate[axis]);
  }
  return begin;
}

}  // namespace trine::reference
