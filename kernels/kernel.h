// The meeting point of ops and backends: a table from op name to a factory of kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mesh.h"
#include "base/trace_event.h"
#include "graph/op.h"

namespace trine {

class Communicator;
class DeviceGroup;

// One operand in memory, as rows of columns. A vector is one row; dims before the last are flattened.
struct TensorView {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 1, columns = 1;
  int64_t row_stride = 1;  // elements

  int64_t num_elements() const { return rows * columns; }
  bool contiguous() const { return rows == 1 || row_stride == columns; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
};

// What the host gives to one step of one rank.
struct HostStep {
  std::span<const int32_t> ids, labels;  // of all microbatches
  float lr = 0, loss_scale = 1;
};

// One execution of a node.
struct KernelCall {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;  // the written states stand behind the outputs
  std::span<std::byte> workspace;
  int microbatch = 0;
  bool first_write = true;  // of this step: accumulators overwrite
  const HostStep* host = nullptr;
};

using Kernel = std::function<void(const KernelCall&)>;

// What a factory may prepare from: the views have the shapes and strides of every later call, but not its
// addresses; whether two operands lie side by side is the same in every call.
struct KernelRequest {
  const Op& op;
  std::span<const TensorView> inputs, outputs;
  const Mesh& mesh;
  Coordinate coordinate;
  int threads = 1;
  int64_t workspace_bytes = 0;
  TypeSpan input_types = {}, output_types = {};  // logical: what an uneven split needs besides its own shard
  Communicator* group = nullptr;                 // of a collective: the ranks along its axis
  DeviceGroup* device_group = nullptr;           // the same ranks, where devices talk among themselves
  Lane lane = Lane::kCompute;                    // whose queue the kernel is enqueued in
  int node = -1;                                 // its number in the graph; -1: it is of none
  int64_t* workspace_used = nullptr;             // raised to what the kernel uses of it; nullptr: nobody asks

  void uses_workspace(int64_t bytes) const {
    if (workspace_used) *workspace_used = std::max(*workspace_used, bytes);
  }
};

using KernelFactory = std::function<Kernel(const KernelRequest&)>;

class KernelTable {
 public:
  void add(std::string op, KernelFactory factory) { factories_[std::move(op)] = std::move(factory); }
  bool has(std::string_view op) const { return factories_.contains(std::string(op)); }
  std::vector<std::string> ops() const;
  Kernel make(const KernelRequest& request) const;  // CHECKs that the op has a kernel

 private:
  std::map<std::string, KernelFactory> factories_;
};

}  // namespace trine
