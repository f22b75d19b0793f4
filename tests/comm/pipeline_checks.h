// The traffic of a pipeline as every backend must carry it. A check that fails throws.
#pragma once

#include <fmt/core.h>
#include <stdexcept>
#include <vector>

#include "comm/pipeline_lane.h"

namespace trine {

// Every rank sends to the next one (activations, tag 0) and to the one before (gradients, tag 1), round the ring as
// interleaved schedules do, from two buffers for each edge; receives are posted one message ahead. Sizes lie on
// both sides of what MPI libraries send eagerly, so that a send may wait for its receive.
inline void check_pipeline(Communicator& group, std::vector<std::byte>& results) {
  constexpr int kMessages = 12;
  constexpr int64_t kSizes[] = {0, 24, 5000, 300'000};
  const int n = group.size(), rank = group.rank(), next = (rank + 1) % n, previous = (rank + n - 1) % n;
  if (n == 1) return;
  struct Edge {
    int to, from, tag;
    std::vector<std::byte> out[2], in[2];
    PipelineLane::Ticket sent[2] = {}, received[2] = {};
  };
  Edge edges[] = {{next, previous, 0, {}, {}}, {previous, next, 1, {}, {}}};
  const auto content = [&](int sender, int tag, int i) {
    const int64_t bytes = kSizes[(i + sender + tag) % std::size(kSizes)];
    return std::vector<std::byte>(static_cast<size_t>(bytes),
                                  static_cast<std::byte>(sender * 41 + tag * 97 + i + 1));
  };
  PipelineLane lane("pipeline", group);
  const auto post = [&](Edge& edge, int i) {
    std::vector<std::byte>& in = edge.in[i % 2];
    in.assign(content(edge.from, edge.tag, i).size(), std::byte{0});
    edge.received[i % 2] = lane.receive(in.data(), static_cast<int64_t>(in.size()), edge.from, edge.tag);
  };
  for (Edge& edge : edges) post(edge, 0);
  for (int i = 0; i < kMessages; ++i)
    for (Edge& edge : edges) {
      lane.wait(edge.sent[i % 2]);  // its buffer is free
      edge.out[i % 2] = content(rank, edge.tag, i);
      if (i + 1 < kMessages) post(edge, i + 1);
      edge.sent[i % 2] = lane.send(edge.out[i % 2].data(), std::ssize(edge.out[i % 2]), edge.to, edge.tag);
      lane.wait(edge.received[i % 2]);
      if (edge.in[i % 2] != content(edge.from, edge.tag, i))
        throw std::runtime_error(fmt::format("message {} of tag {} from {} is wrong", i, edge.tag, edge.from));
      results.insert(results.end(), edge.in[i % 2].begin(), edge.in[i % 2].end());
    }
  lane.wait_all();
}

}  // namespace trine
