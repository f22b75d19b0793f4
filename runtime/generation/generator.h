// Runs an inference plan on one rank: memory, kernels, and the position reached in the one sequence.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "plan/inference_plan.h"
#include "runtime/device/backend.h"
#include "runtime/state/parameters.h"

namespace trine {

class Generator {
 public:
  // Allocates the arena and prepares every kernel. `plan`, `backend` and `tp`, the ranks of the model (nullptr:
  // one), outlive the generator.
  Generator(const InferencePlan& plan, Backend& backend, Communicator* tp = nullptr);

  // This rank's shard of every parameter, rounded to the plan's type.
  void set_parameters(const ParameterSource& source);

  // Reads these tokens at the position reached, and returns the logits of what follows the last: all V, on every
  // rank, until the next call. Collective. prefill() runs blocks of the plan's size, the last one padded. REQUIRES:
  // ids within the vocabulary, at least one; position() + size <= max_seq, for prefill() with its padding.
  std::span<const float> prefill(std::span<const int32_t> ids);
  std::span<const float> decode(int32_t id);

  int64_t position() const { return position_; }  // tokens read
  void rewind() { position_ = 0; }
  TensorView view(StateId state) const;

 private:
  struct Instruction {
    Kernel kernel;
    std::vector<TensorView> inputs, outputs;
  };

  TensorView view(ValueId value) const;
  Instruction prepare(const Node& node) const;
  void write(const char* state, std::span<const int32_t> values);
  void run(int chunk, std::span<const int32_t> ids, const char* ids_state);
  std::span<const float> gather_logits(int chunk);
  void set_parameter(const State& state, const TensorView& shard, const ParameterSource& source);

  const InferencePlan& plan_;
  Backend& backend_;
  Communicator* const tp_;
  const Coordinate coordinate_;
  std::unique_ptr<DeviceMemory> memory_;
  std::array<std::vector<Instruction>, 2> chunks_;
  std::vector<std::byte> gathered_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

}  // namespace trine
