// Collectives: what moves between ranks goes through the communicator of the axis, the rest are copies.
#include "ops/collective.h"

#include <cstring>

#include "base/error.h"
#include "comm/communicator.h"
#include "kernels/cpu/cpu_kernels.h"
#include "ops/pipeline.h"

namespace trine::cpu {
namespace {

const Collective& collective(const KernelRequest& request) { return dynamic_cast<const Collective&>(request.op); }

// A split along the outermost dim, as the communicator takes it: `count` shares of `unit` elements.
struct Split {
  int64_t count = 0, unit = 1;
};

Split split_of(const KernelRequest& request, const TensorType& whole, int dim) {
  const Shape shape = local_shape(whole, request.mesh, request.coordinate);
  TRINE_CHECK(dim == 0 && request.group != nullptr, "{}: a split along dim {} of {}", request.op.name(), dim,
              to_string(whole));
  return {shape[0], shape.num_elements() / shape[0]};
}

void check_contiguous(const KernelRequest& request) {
  for (const auto& views : {request.inputs, request.outputs})
    for (const TensorView& view : views)
      TRINE_CHECK(view.contiguous(), "{}: an operand has gaps", request.op.name());
}

size_t bytes_of(const TensorView& view) {
  return static_cast<size_t>(view.num_elements()) * size_bytes(view.dtype);
}

void copy_if_elsewhere(const KernelCall& call) {
  if (call.inputs[0].data != call.outputs[0].data)
    std::memcpy(call.outputs[0].data, call.inputs[0].data, bytes_of(call.inputs[0]));
}

bool travels_as_bf16(const KernelRequest& request) {
  return collective(request).wire == DType::kBF16 && request.inputs[0].dtype == DType::kF32;
}

Kernel all_reduce(const KernelRequest& request) {
  check_contiguous(request);
  Communicator* const group = request.group;
  if (travels_as_bf16(request))
    return [group](const KernelCall& call) {
      copy_if_elsewhere(call);
      group->all_reduce_bf16(call.outputs[0].as<float>(), call.outputs[0].num_elements());
    };
  return [group](const KernelCall& call) {
    copy_if_elsewhere(call);
    group->all_reduce(call.outputs[0].data, call.outputs[0].num_elements(), call.outputs[0].dtype);
  };
}

Kernel all_gather(const KernelRequest& request) {
  check_contiguous(request);
  const Split split = split_of(request, request.output_types[0], collective(request).change.from.dim);
  return [split, group = request.group](const KernelCall& call) {
    group->all_gather(call.inputs[0].data, call.outputs[0].data, split.count, call.outputs[0].dtype, split.unit);
  };
}

Kernel reduce_scatter(const KernelRequest& request) {
  check_contiguous(request);
  const Split split = split_of(request, request.input_types[0], collective(request).change.to.dim);
  if (travels_as_bf16(request)) {
    TRINE_CHECK(split.unit == 1, "{} in bf16 takes vectors", request.op.name());
    return [split, group = request.group](const KernelCall& call) {
      group->reduce_scatter_bf16(call.inputs[0].as<const float>(), call.outputs[0].as<float>(), split.count);
    };
  }
  return [split, group = request.group](const KernelCall& call) {
    group->reduce_scatter(call.inputs[0].data, call.outputs[0].data, split.count, call.inputs[0].dtype,
                          ReduceOp::kSum, split.unit);
  };
}

// Where this rank's share of a whole operand begins: rows for the first dim of a matrix, else columns.
struct Share {
  int64_t row = 0, column = 0;
  std::byte* of(const TensorView& whole) const {
    return whole.data + (row * whole.row_stride + column) * static_cast<int64_t>(size_bytes(whole.dtype));
  }
};

Share share_of(const KernelRequest& request, const TensorType& whole, Placement split) {
  const Axis axis = collective(request).axis;
  const int64_t begin = split_begin(whole.shape[split.dim], request.mesh[axis], request.coordinate[axis]);
  if (split.dim + 1 == whole.shape.num_dims()) return {0, begin};
  TRINE_CHECK(split.dim == 0, "{} of {} along dim {}", request.op.name(), to_string(whole), split.dim);
  return {begin * (whole.shape.num_rows() / whole.shape[0]), 0};
}

void copy_rows(const std::byte* from, int64_t from_stride, std::byte* to, int64_t to_stride,
               const TensorView& extent) {
  const auto element = static_cast<int64_t>(size_bytes(extent.dtype));
  for (int64_t row = 0; row < extent.rows; ++row)
    std::memcpy(to + row * to_stride * element, from + row * from_stride * element,
                static_cast<size_t>(extent.columns * element));
}

Kernel slice(const KernelRequest& request) {
  const Share share = share_of(request, request.input_types[0], collective(request).change.to);
  return [share](const KernelCall& call) {
    const TensorView &x = call.inputs[0], &y = call.outputs[0];
    if (share.of(x) != y.data) copy_rows(share.of(x), x.row_stride, y.data, y.row_stride, y);
  };
}

Kernel pad(const KernelRequest& request) {
  const Share share = share_of(request, request.output_types[0], collective(request).change.from);
  return [share](const KernelCall& call) {
    const TensorView &x = call.inputs[0], &y = call.outputs[0];
    for (int64_t row = 0; row < y.rows; ++row)
      std::memset(y.data + row * y.row_stride * static_cast<int64_t>(size_bytes(y.dtype)), 0,
                  static_cast<size_t>(y.columns) * size_bytes(y.dtype));
    copy_rows(x.data, x.row_stride, share.of(y), y.row_stride, x);
  };
}

// A state as it is, to or from another stage.
constexpr int kStateTag = 9;

Kernel send_state(const KernelRequest& request) {
  check_contiguous(request);
  return [group = request.group, to = dynamic_cast<const SendState&>(request.op).to_rank](const KernelCall& call) {
    group->send(call.inputs[0].data, call.inputs[0].num_elements(), call.inputs[0].dtype, to, kStateTag);
  };
}

Kernel receive_state(const KernelRequest& request) {
  check_contiguous(request);
  return [group = request.group,
          from = dynamic_cast<const ReceiveState&>(request.op).from_rank](const KernelCall& call) {
    group->recv(call.outputs[0].data, call.outputs[0].num_elements(), call.outputs[0].dtype, from, kStateTag);
  };
}

}  // namespace

void add_collective(KernelTable& table, const ContextPtr&) {
  table.add("all_reduce", all_reduce);
  table.add("all_gather", all_gather);
  table.add("reduce_scatter", reduce_scatter);
  table.add("slice", slice);
  table.add("pad", pad);
  table.add("send_state", send_state);
  table.add("receive_state", receive_state);
  table.add("enter", [](const KernelRequest&) -> Kernel { return copy_if_elsewhere; });
}

}  // namespace trine::cpu
