// A small model's state whose every value follows from tensor and position, cut as layouts cut it.
#pragma once

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/hash.h"
#include "checkpoint/save.h"

namespace trine::testing {

struct SavedTensor {
  std::string name;
  Shape shape;
  int tp_dim = -1;  // that tp splits; -1: none
  DType dtype = DType::kF32;
};

inline const std::vector<SavedTensor>& small_tensors() {
  static const std::vector<SavedTensor> tensors = {{"model.embed_tokens.weight", {19, 8}, 0},
                                                   {"model.layers.0.mlp.down_proj.weight", {12, 10}, 1},
                                                   {"model.layers.0.half", {6, 8}, 0, DType::kBF16},
                                                   {"model.norm.weight", {7}, -1}};
  return tensors;
}

// Element i is the low bytes of key + i, mixed.
inline uint64_t value(uint64_t key, int64_t i) {
  const uint64_t z = (key ^ static_cast<uint64_t>(i)) * 0x9e3779b97f4a7c15u;
  return z ^ (z >> 29);
}

// One rank's share of a state, with its memory.
struct OwnedSlices {
  std::vector<Slice> slices;
  std::vector<std::vector<std::byte>> memory;
};

inline std::vector<std::byte> elements(const SavedTensor& tensor, TensorKind kind, int64_t step,
                                       const std::vector<Box>& boxes) {
  const size_t element_bytes = size_bytes(tensor.dtype);
  const uint64_t key = xxh3(fmt::format("{} {} {}", tensor.name, int(kind), step));
  std::vector<std::byte> bytes;
  for (const Box& box : boxes) {
    for_each_run(box, Box::whole(tensor.shape), [&](int64_t begin, int64_t count) {
      for (int64_t i = begin; i < begin + count; ++i) {
        const uint64_t bits = value(key, i);
        const auto* from = reinterpret_cast<const std::byte*>(&bits);
        bytes.insert(bytes.end(), from, from + element_bytes);
      }
    });
  }
  return bytes;
}

// Where ranks of a layout stand: tp splits a dim, dp flat ranges of the tp shard (ZeRO), pp whole tensors.
struct TestLayout {
  int tp = 1, pp = 1, dp = 1;
  bool zero = true;
  int num_ranks() const { return tp * pp * dp; }
};

inline std::vector<Box> owned_boxes(const SavedTensor& tensor, size_t index, const TestLayout& layout, int rank) {
  const int tp = rank % layout.tp, dp = rank / layout.tp % layout.dp, pp = rank / layout.tp / layout.dp;
  if (static_cast<int>(index) % layout.pp != pp) return {};
  Box shard = Box::whole(tensor.shape);
  if (tensor.tp_dim >= 0) {
    const auto dim = static_cast<size_t>(tensor.tp_dim);
    shard.start[dim] = split_begin(shard.count[dim], layout.tp, tp);
    shard.count[dim] = split_size(tensor.shape[tensor.tp_dim], layout.tp, tp);
  } else if (tp != 0) {
    return {};  // replicated: written once
  }
  if (!layout.zero) return dp == 0 ? std::vector<Box>{shard} : std::vector<Box>{};
  const int64_t n = shard.num_elements(), share = div_up(n, layout.dp);
  return boxes_of_range(shard, std::min(n, share * dp), std::min(n, share * (dp + 1)));
}

inline OwnedSlices owned(const TestLayout& layout, int rank, int64_t step,
                         const std::vector<SavedTensor>& tensors = small_tensors()) {
  OwnedSlices owned;
  for (TensorKind kind : kTensorKinds) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      const SavedTensor& tensor = tensors[i];
      const std::vector<Box> boxes = owned_boxes(tensor, i, layout, rank);
      owned.memory.push_back(elements(tensor, kind, step, boxes));
      owned.slices.push_back({tensor.name, kind, tensor.dtype, tensor.shape, boxes, owned.memory.back().data()});
    }
  }
  return owned;
}

inline TrainingState state_at(int64_t step) {
  return {step, step * 32, step * 4096, step - 1, 65536, 7, -1234, 0.1 + static_cast<double>(step), "00ff"};
}

// The token of the next save.
inline std::string new_token() {
  static int saves = 0;
  return fmt::format("{}-{}", ::getpid(), ++saves);
}

inline SaveJob job_at(const std::filesystem::path& folder, int64_t step, int rank = 0, int num_ranks = 1,
                      const std::string& token = new_token()) {
  SaveJob job;
  job.folder = folder;
  job.token = token;
  job.rank = rank;
  job.num_ranks = num_ranks;
  job.state = state_at(step);
  job.layout = {2, 1, 3, 1, 1};
  job.config = {{"model", {{"hidden", 8}}}, {"lr", 0.1}};
  return job;
}

// Saves the whole state of a layout, the ranks one after another, rank 0 last.
inline SaveOutcome save(const std::filesystem::path& folder, int64_t step, const TestLayout& layout = {},
                        std::optional<int> keep = {}, const std::vector<SavedTensor>& tensors = small_tensors()) {
  const std::string token = new_token();
  for (int rank = layout.num_ranks() - 1; rank >= 0; --rank) {
    const OwnedSlices mine = owned(layout, rank, step, tensors);
    SaveJob job = job_at(folder, step, rank, layout.num_ranks(), token);
    job.keep = keep;
    const SaveOutcome outcome = save_checkpoint(job, mine.slices);
    if (rank == 0) return outcome;
  }
  return {};
}

// Every value of every tensor is that of `step`: not one of another save, not a mix.
inline void expect_state_of(Checkpoint& checkpoint, int64_t step,
                            const std::vector<SavedTensor>& tensors = small_tensors()) {
  EXPECT_EQ(checkpoint.manifest().state, state_at(step));
  EXPECT_EQ(checkpoint.manifest().tensors.size(), 3 * tensors.size());
  for (TensorKind kind : kTensorKinds) {
    for (const SavedTensor& tensor : tensors) {
      const std::vector<Box> all = {Box::whole(tensor.shape)};
      const std::vector<std::byte> want = elements(tensor, kind, step, all);
      std::vector<std::byte> got(want.size());
      checkpoint.read(checkpoint.tensor(kind, tensor.name), all, std::span(got));
      EXPECT_EQ(got, want) << tensor.name << " of step " << step;
    }
  }
}

}  // namespace trine::testing
