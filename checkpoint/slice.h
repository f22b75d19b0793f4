// What a rank gives to be saved.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "checkpoint/box.h"
#include "checkpoint/manifest.h"

namespace trine {

// What a rank owns of a tensor: its elements in host memory, box after box, each row-major.
struct Slice {
  std::string name;
  TensorKind kind = TensorKind::kWeight;
  DType dtype = DType::kF32;
  Shape shape;  // of the whole tensor, at least one dim
  std::vector<Box> boxes;
  const void* data = nullptr;

  int64_t num_elements() const;
  int64_t size_bytes() const { return num_elements() * static_cast<int64_t>(trine::size_bytes(dtype)); }
};

// Bytes that the file of these slices will take, rounded up generously.
int64_t shard_bytes(std::span<const Slice> slices);

}  // namespace trine
