// Collectives: from device to device where the ranks have a DeviceGroup, else staged through pinned host memory and
// the communicator of the axis, with the CPU's bits, in pieces whose copies and exchange overlap; the rest are
// copies. A staged kernel waits for its queue: it has a host thread of its own.
#include "ops/collective.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/shape.h"
#include "comm/communicator.h"
#include "comm/device_group.h"
#include "comm/staged_pieces.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/device/functions.h"
#include "ops/pipeline.h"

namespace trine::cuda {
namespace {

const Collective& collective(const KernelRequest& request) { return dynamic_cast<const Collective&>(request.op); }

int64_t bytes_of(const TensorView& view) {
  return view.num_elements() * static_cast<int64_t>(size_bytes(view.dtype));
}

// Elements of a piece take about this much: long enough for a copy engine's full speed.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// The way in beside a lane's own stream, which is the way out; and when pieces were out.
struct Ways {
  Stream in;
  std::array<Event, StagedPieces::kAhead> out;
  Event begun, arrived;
};

// What the collectives of a lane share, which run one after another.
class LaneBuffers {
 public:
  void reserve_ways(Lane lane) {
    auto& ways = ways_[static_cast<size_t>(lane)];
    if (!ways) ways = std::make_unique<Ways>();
  }
  const Ways& ways(Lane lane) const { return *ways_[static_cast<size_t>(lane)]; }
  // Kernels are made by one thread, before any runs.
  void reserve_host(Lane lane, int64_t bytes) { reserve(host_, lane, bytes); }
  void reserve_device(Lane lane, int64_t bytes) { reserve(device_, lane, bytes); }
  std::byte* host(Lane lane) const { return host_[static_cast<size_t>(lane)].data(); }
  std::byte* device(Lane lane) const { return device_[static_cast<size_t>(lane)].data(); }

 private:
  template <typename Buffer>
  static void reserve(std::array<Buffer, kLanes.size()>& buffers, Lane lane, int64_t bytes) {
    Buffer& buffer = buffers[static_cast<size_t>(lane)];
    if (buffer.size() < bytes) buffer = Buffer(bytes);
  }
  std::array<PinnedBuffer, kLanes.size()> host_;
  std::array<DeviceBuffer, kLanes.size()> device_;
  std::array<std::unique_ptr<Ways>, kLanes.size()> ways_;
};

// What a kernel needs of its surroundings.
struct Site {
  ContextPtr context;
  std::shared_ptr<LaneBuffers> buffers;
  Lane lane = Lane::kCompute;
  Communicator* group = nullptr;
  DeviceGroup* device_group = nullptr;

  cudaStream_t stream() const { return context->stream(lane); }
  std::byte* host() const { return buffers->host(lane); }
  void copy(void* to, const void* from, int64_t bytes) const {
    TRINE_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream()));
  }
  void wait() const { TRINE_CUDA(cudaStreamSynchronize(stream())); }

  // out(piece, stream) and in(piece, stream) enqueue copies between device and host, exchange(piece) talks. What
  // the lane's stream does later comes after all of them.
  template <typename Out, typename Exchange, typename In>
  void staged(const StagedPieces& pieces, Out&& out, Exchange&& exchange, In&& in) const {
    const Ways& ways = buffers->ways(lane);
    const auto event = [&](int64_t piece) -> const Event& {
      return ways.out[static_cast<size_t>(piece % StagedPieces::kAhead)];
    };
    ways.begun.record(stream());  // what is written was free before
    ways.begun.block(ways.in.get());
    pieces.run([&](int64_t piece) { out(piece, stream()), event(piece).record(stream()); },
               [&](int64_t piece) { event(piece).synchronize(); }, exchange,
               [&](int64_t piece) { in(piece, ways.in.get()); });
    ways.arrived.record(ways.in.get());
    ways.arrived.block(stream());
  }
};

void copy_async(cudaStream_t stream, void* to, const void* from, int64_t bytes) {
  TRINE_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
}

// A stretch of `bytes` from each of `ranks` places.
void copy_strided(cudaStream_t stream, void* to, int64_t to_pitch, const void* from, int64_t from_pitch,
                  int64_t bytes, int ranks) {
  TRINE_CUDA(cudaMemcpy2DAsync(to, static_cast<size_t>(to_pitch), from, static_cast<size_t>(from_pitch),
                               static_cast<size_t>(bytes), static_cast<size_t>(ranks), cudaMemcpyDefault, stream));
}

void check_contiguous(const KernelRequest& request) {
  for (const auto& views : {request.inputs, request.outputs})
    for (const TensorView& view : views)
      TRINE_CHECK(view.contiguous(), "{}: an operand has gaps", request.op.name());
}

// A split along the outermost dim: `count` shares of `unit` elements,
// of which this rank's are [begin, begin + size).
struct Split {
  int64_t count = 0, unit = 1;
  int64_t begin = 0, size = 0;
  int64_t element_bytes = 0;

  int64_t row_bytes() const { return unit * element_bytes; }
  int64_t begin_bytes() const { return begin * unit * element_bytes; }
  int64_t own_bytes() const { return size * unit * element_bytes; }
  int64_t bytes() const { return count * unit * element_bytes; }
};

Split split_of(const KernelRequest& request, const TensorType& whole, int dim) {
  const Shape shape = local_shape(whole, request.mesh, request.coordinate);
  TRINE_CHECK(dim == 0 && request.group != nullptr, "{}: a split along dim {} of {}", request.op.name(), dim,
              to_string(whole));
  const int ranks = request.group->size(), rank = request.group->rank();
  return {shape[0], shape.num_elements() / shape[0], split_begin(shape[0], ranks, rank),
          split_size(shape[0], ranks, rank), static_cast<int64_t>(size_bytes(whole.dtype))};
}

// --- f32 with bf16 on the wire, from device to device
// -----------------------------------------------------------------

// Works through the same stretch of every rank's shard at once, in memory that does not grow with the operand.
class Bf16Wire {
 public:
  Bf16Wire(Site site, int64_t count)
      : site_(std::move(site)),
        ranks_(site_.group->size()),
        count_(count),
        longest_(div_up(count, int64_t{ranks_})) {
    length_ = std::min(longest_, kElements / ranks_);
    site_.buffers->reserve_device(site_.lane, 2 * length_ * ranks_);
  }

  void all_reduce(float* data) const {
    for_each_stretch([&](int64_t offset) {
      for (int r = 0; r < ranks_; ++r) narrow(data, r, offset);
      site_.device_group->all_reduce(scratch(0), length_ * ranks_, DType::kBF16, ReduceOp::kSum, site_.stream());
      for (int r = 0; r < ranks_; ++r) widen(r, offset, data + split_begin(count_, ranks_, r) + offset);
    });
  }
  void reduce_scatter(const float* input, float* shard) const {
    for_each_stretch([&](int64_t offset) {
      for (int r = 0; r < ranks_; ++r) narrow(input, r, offset);
      const int own = site_.group->rank();
      site_.device_group->reduce_scatter(scratch(0), scratch(own), length_ * ranks_, DType::kBF16, 1,
                                         site_.stream());
      widen(own, offset, shard + offset);
    });
  }

 private:
  static constexpr int64_t kElements = int64_t{16} << 20;

  template <typename F>
  void for_each_stretch(F&& f) const {
    for (int64_t offset = 0; offset < longest_; offset += length_) f(offset);
  }
  std::byte* scratch(int rank) const { return site_.buffers->device(site_.lane) + 2 * length_ * rank; }
  int64_t size(int rank, int64_t offset) const {
    return std::clamp<int64_t>(split_size(count_, ranks_, rank) - offset, 0, length_);
  }
  // What is behind a shorter shard is summed too, and never read.
  void narrow(const float* data, int rank, int64_t offset) const {
    const int64_t n = size(rank, offset);
    if (n > 0)
      copy_rows(site_.stream(), DType::kF32, DType::kBF16, 1, n,
                {data + split_begin(count_, ranks_, rank) + offset, n}, {scratch(rank), n});
  }
  void widen(int rank, int64_t offset, float* to) const {
    const int64_t n = size(rank, offset);
    if (n > 0) copy_rows(site_.stream(), DType::kBF16, DType::kF32, 1, n, {scratch(rank), n}, {to, n});
  }

  Site site_;
  int ranks_;
  int64_t count_, longest_, length_ = 0;
};

// --- kernels
// ----------------------------------------------------------------------------------------------------

void copy_if_elsewhere(const Site& site, const KernelCall& call) {
  if (call.inputs[0].data != call.outputs[0].data)
    site.copy(call.outputs[0].data, call.inputs[0].data, bytes_of(call.inputs[0]));
}

bool travels_as_bf16(const KernelRequest& request) {
  return collective(request).wire == DType::kBF16 && request.inputs[0].dtype == DType::kF32;
}

Kernel all_reduce(const Site& site, const KernelRequest& request) {
  check_contiguous(request);
  const bool bf16 = travels_as_bf16(request);
  if (site.device_group && bf16)
    return [site, wire = Bf16Wire(site, request.outputs[0].num_elements())](const KernelCall& call) {
      copy_if_elsewhere(site, call);
      wire.all_reduce(call.outputs[0].as<float>());
    };
  if (site.device_group)
    return [site](const KernelCall& call) {
      copy_if_elsewhere(site, call);
      const TensorView& y = call.outputs[0];
      site.device_group->all_reduce(y.data, y.num_elements(), y.dtype, ReduceOp::kSum, site.stream());
    };
  site.buffers->reserve_host(site.lane, bytes_of(request.outputs[0]));
  site.buffers->reserve_ways(site.lane);
  return [site, bf16](const KernelCall& call) {
    const TensorView &x = call.inputs[0], &y = call.outputs[0];
    const auto element = static_cast<int64_t>(size_bytes(y.dtype));
    const StagedPieces pieces{y.num_elements(), kPieceBytes / element};
    const auto at = [&](std::byte* data, int64_t piece) { return data + pieces.begin(piece) * element; };
    site.staged(
        pieces,
        [&](int64_t piece, cudaStream_t stream) {
          copy_async(stream, at(site.host(), piece), at(x.data, piece), pieces.size(piece) * element);
        },
        [&](int64_t piece) {
          if (bf16)
            site.group->all_reduce_bf16(reinterpret_cast<float*>(at(site.host(), piece)), pieces.size(piece));
          else
            site.group->all_reduce(at(site.host(), piece), pieces.size(piece), y.dtype);
        },
        [&](int64_t piece, cudaStream_t stream) {
          copy_async(stream, at(y.data, piece), at(site.host(), piece), pieces.size(piece) * element);
        });
  };
}

// Pieces of a split: the same rows of every rank's shard, which lie side by side on the host. Where shards differ
// in length there is one piece, with the shards in their places.
struct SplitPieces {
  Split split;
  int ranks = 1, rank = 0;
  bool even = false;
  StagedPieces rows;

  SplitPieces(const Split& of, const Communicator& group)
      : split(of), ranks(group.size()), rank(group.rank()), even(of.count % group.size() == 0) {
    rows = {of.size,
            even ? std::max<int64_t>(1, kPieceBytes / (of.row_bytes() * ranks)) : std::max<int64_t>(1, of.size)};
    if (!even) rows.count = rows.length = 1;  // of whatever size
  }
  int64_t count(int64_t piece) const { return even ? rows.size(piece) * ranks : split.count; }  // of all ranks
  int64_t own_bytes(int64_t piece) const { return even ? rows.size(piece) * split.row_bytes() : split.own_bytes(); }
  int64_t shard_bytes() const { return split.own_bytes(); }  // of any rank, if even
  int64_t in_shard(int64_t piece) const { return even ? rows.begin(piece) * split.row_bytes() : 0; }
  int64_t on_host(int64_t piece) const { return even ? rows.begin(piece) * ranks * split.row_bytes() : 0; }
  int64_t own_on_host(int64_t piece) const {
    return on_host(piece) + (even ? rank * own_bytes(piece) : split.begin_bytes());
  }
};

Kernel all_gather(const Site& site, const KernelRequest& request) {
  check_contiguous(request);
  const Split split = split_of(request, request.output_types[0], collective(request).change.from.dim);
  if (site.device_group)
    return [site, split](const KernelCall& call) {
      site.device_group->all_gather(call.inputs[0].data, call.outputs[0].data, split.count, call.outputs[0].dtype,
                                    split.unit, site.stream());
    };
  site.buffers->reserve_host(site.lane, split.bytes());
  site.buffers->reserve_ways(site.lane);
  return [site, pieces = SplitPieces(split, *site.group)](const KernelCall& call) {
    const TensorView &shard = call.inputs[0], &whole = call.outputs[0];
    std::byte* const host = site.host();
    site.staged(
        pieces.rows,
        [&](int64_t piece, cudaStream_t stream) {
          copy_async(stream, host + pieces.own_on_host(piece), shard.data + pieces.in_shard(piece),
                     pieces.own_bytes(piece));
        },
        [&](int64_t piece) {
          site.group->all_gather(host + pieces.own_on_host(piece), host + pieces.on_host(piece),
                                 pieces.count(piece), whole.dtype, pieces.split.unit);
        },
        [&](int64_t piece, cudaStream_t stream) {
          if (!pieces.even) return copy_async(stream, whole.data, host, pieces.split.bytes());
          copy_strided(stream, whole.data + pieces.in_shard(piece), pieces.shard_bytes(),
                       host + pieces.on_host(piece), pieces.own_bytes(piece), pieces.own_bytes(piece),
                       pieces.ranks);
        });
  };
}

Kernel reduce_scatter(const Site& site, const KernelRequest& request) {
  check_contiguous(request);
  const Split split = split_of(request, request.input_types[0], collective(request).change.to.dim);
  const bool bf16 = travels_as_bf16(request);
  TRINE_CHECK(!bf16 || split.unit == 1, "{} in bf16 takes vectors", request.op.name());
  if (site.device_group && bf16)
    return [wire = Bf16Wire(site, split.count)](const KernelCall& call) {
      wire.reduce_scatter(call.inputs[0].as<const float>(), call.outputs[0].as<float>());
    };
  if (site.device_group)
    return [site, split](const KernelCall& call) {
      site.device_group->reduce_scatter(call.inputs[0].data, call.outputs[0].data, split.count,
                                        call.inputs[0].dtype, split.unit, site.stream());
    };
  site.buffers->reserve_host(site.lane, split.bytes());
  site.buffers->reserve_ways(site.lane);
  return [site, bf16, pieces = SplitPieces(split, *site.group)](const KernelCall& call) {
    const TensorView &whole = call.inputs[0], &shard = call.outputs[0];
    std::byte* const host = site.host();
    site.staged(
        pieces.rows,
        [&](int64_t piece, cudaStream_t stream) {
          if (!pieces.even) return copy_async(stream, host, whole.data, pieces.split.bytes());
          copy_strided(stream, host + pieces.on_host(piece), pieces.own_bytes(piece),
                       whole.data + pieces.in_shard(piece), pieces.shard_bytes(), pieces.own_bytes(piece),
                       pieces.ranks);
        },
        [&](int64_t piece) {
          std::byte *const from = host + pieces.on_host(piece), *const own = host + pieces.own_on_host(piece);
          if (bf16)
            site.group->reduce_scatter_bf16(reinterpret_cast<const float*>(from), reinterpret_cast<float*>(own),
                                            pieces.count(piece));
          else
            site.group->reduce_scatter(from, own, pieces.count(piece), whole.dtype, ReduceOp::kSum,
                                       pieces.split.unit);
        },
        [&](int64_t piece, cudaStream_t stream) {
          copy_async(stream, shard.data + pieces.in_shard(piece), host + pieces.own_on_host(piece),
                     pieces.own_bytes(piece));
        });
  };
}

// A state as it is, to or from another stage.
constexpr int kStateTag = 9;

Kernel send_state(const Site& site, const KernelRequest& request) {
  check_contiguous(request);
  const int to = dynamic_cast<const SendState&>(request.op).to_rank;
  if (site.device_group)
    return [site, to](const KernelCall& call) {
      const TensorView& x = call.inputs[0];
      site.device_group->send(x.data, x.num_elements(), x.dtype, to, site.stream());
    };
  site.buffers->reserve_host(site.lane, bytes_of(request.inputs[0]));
  return [site, to](const KernelCall& call) {
    const TensorView& x = call.inputs[0];
    site.copy(site.host(), x.data, bytes_of(x));
    site.wait();
    site.group->send(site.host(), x.num_elements(), x.dtype, to, kStateTag);
  };
}

Kernel receive_state(const Site& site, const KernelRequest& request) {
  check_contiguous(request);
  const int from = dynamic_cast<const ReceiveState&>(request.op).from_rank;
  if (site.device_group)
    return [site, from](const KernelCall& call) {
      const TensorView& y = call.outputs[0];
      site.device_group->receive(y.data, y.num_elements(), y.dtype, from, site.stream());
    };
  site.buffers->reserve_host(site.lane, bytes_of(request.outputs[0]));
  return [site, from](const KernelCall& call) {
    const TensorView& y = call.outputs[0];
    site.wait();  // the buffer's last copy to the device
    site.group->recv(site.host(), y.num_elements(), y.dtype, from, kStateTag);
    site.copy(y.data, site.host(), bytes_of(y));
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

void copy_extent(cudaStream_t stream, const std::byte* from, int64_t from_stride, std::byte* to, int64_t to_stride,
                 const TensorView& extent) {
  const auto element = static_cast<int64_t>(size_bytes(extent.dtype));
  const auto bytes = [&](int64_t elements) { return static_cast<size_t>(elements * element); };
  const auto width = bytes(extent.columns), height = static_cast<size_t>(extent.rows);
  if (width == 0 || height == 0) return;
  // The stride of one row has no meaning, but must not be shorter than the row.
  TRINE_CUDA(cudaMemcpy2DAsync(to, std::max(bytes(to_stride), width), from, std::max(bytes(from_stride), width),
                               width, height, cudaMemcpyDeviceToDevice, stream));
}

Kernel slice(const Site& site, const KernelRequest& request) {
  const Share share = share_of(request, request.input_types[0], collective(request).change.to);
  return [site, share](const KernelCall& call) {
    const TensorView &x = call.inputs[0], &y = call.outputs[0];
    if (share.of(x) != y.data) copy_extent(site.stream(), share.of(x), x.row_stride, y.data, y.row_stride, y);
  };
}

Kernel pad(const Site& site, const KernelRequest& request) {
  const Share share = share_of(request, request.output_types[0], collective(request).change.from);
  return [site, share](const KernelCall& call) {
    const TensorView &x = call.inputs[0], &y = call.outputs[0];
    const size_t element = size_bytes(y.dtype), width = static_cast<size_t>(y.columns) * element;
    TRINE_CUDA(cudaMemset2DAsync(y.data, std::max(static_cast<size_t>(y.row_stride) * element, width), 0, width,
                                 static_cast<size_t>(y.rows), site.stream()));
    copy_extent(site.stream(), x.data, x.row_stride, share.of(y), y.row_stride, x);
  };
}

Kernel enter(const Site& site, const KernelRequest&) {
  return [site](const KernelCall& call) { copy_if_elsewhere(site, call); };
}

}  // namespace

void add_collective(KernelTable& table, const ContextPtr& context) {
  const auto buffers = std::make_shared<LaneBuffers>();
  for (const auto& [name, make] : {std::pair{"all_reduce", &all_reduce},
                                   {"all_gather", &all_gather},
                                   {"reduce_scatter", &reduce_scatter},
                                   {"slice", &slice},
                                   {"pad", &pad},
                                   {"send_state", &send_state},
                                   {"receive_state", &receive_state},
                                   {"enter", &enter}})
    table.add(name, [=](const KernelRequest& request) -> Kernel {
      const Site site{context, buffers, request.lane, request.group, request.device_group};
      const Kernel kernel = make(site, request);
      return [context, kernel](const KernelCall& call) {
        context->activate();  // lanes have threads of their own
        kernel(call);
      };
    });
}

}  // namespace trine::cuda
