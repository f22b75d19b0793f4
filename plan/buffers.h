// Which values share bytes, and which nodes access them: what the memory plan finds a place for.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace trine {

enum class BufferKind {
  kTransient,  // lives within one action
  kKept,       // from one action of a microbatch to a later one
  kReceived,   // from another stage
  kSent,       // to another stage
};

// Bytes that one or several values share: an output, outputs side by side, and all that is written over them.
struct Buffer {
  int64_t bytes = 0;  // of the largest shard, a multiple of kBufferAlignment
  std::vector<NodeId> accesses;
  BufferKind kind = BufferKind::kTransient;
  std::string name;
};

struct InBuffer {
  size_t buffer = 0;
  int64_t offset = 0;      // bytes
  int64_t row_stride = 0;  // elements
};

struct Buffers {
  std::vector<Buffer> all;
  std::vector<InBuffer> of_value;  // by value; without meaning for those that are states
};

Buffers make_buffers(const Graph& graph);

}  // namespace trine
