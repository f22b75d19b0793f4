// Which layers a pipeline stage holds. Stages are balanced by their time: the embedding weighs on the first, the head on
// the last, and neither needs as many layers as the others.
#pragma once

#include <cstdint>
#include <vector>

namespace trine {

// Layers [first, end) of stage `index` of `count`.
struct Stage {
  int index = 0, count = 1;
  int64_t first_layer = 0, end_layer = 0;
  bool is_first() const { return index == 0; }
  bool is_last() const { return index + 1 == count; }
  bool operator==(const Stage&) const = default;
};

// What the parts of a model take, of time or of memory, in any one unit: one of its layers, its embedding, its head.
struct LayerCosts {
  double layer = 1, embedding = 0, head = 0;
};

// The split over `num_stages` whose longest stage takes least time; of those the one whose largest stage takes least
// memory. Every stage has a layer at least. Where several splits are equal, later stages get the longer part, since
// earlier ones keep more microbatches in flight. REQUIRES: num_layers >= num_stages >= 1.
std::vector<Stage> split_layers(int64_t num_layers, int num_stages, const LayerCosts& time,
                                const LayerCosts& memory = {});

}  // namespace trine
