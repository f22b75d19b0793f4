// The layers of a LLaMA model, written as in the paper (Touvron et al. 2023): what training and generation share.
// Shape letters: N tokens, D hidden, H query heads, G kv heads, d head_dim, F ffn, V vocab.
#pragma once

#include <string>
#include <vector>

#include "graph/builder.h"
#include "models/llama_config.h"
#include "parallel/tensor_parallel.h"

namespace trine {

// Adds layers to a graph. Parameters are states with Hugging Face's names; one that exists is used again.
class LlamaLayers {
 public:
  virtual ~LlamaLayers() = default;
  LlamaLayers(const LlamaLayers&) = delete;
  LlamaLayers& operator=(const LlamaLayers&) = delete;

 protected:
  using Place = TensorType (TensorParallel::*)(TensorType) const;

  // `config` outlives the layers.
  LlamaLayers(const LlamaConfig& config, const Mesh& mesh, bool sequence_parallel, DType dtype)
      : c_(config), mesh_(mesh), tp_(mesh, sequence_parallel), b_(mesh), dtype_(dtype) {}

  // Positions and attention of a layer: q [N, H d], k, v [N, G d]   ->   o [N, H d]
  virtual ValueId attend(int64_t layer, ValueId q, ValueId k, ValueId v) = 0;

  // ids [N]   ->   x [N, D]
  ValueId embed(ValueId ids, StateId table);
  // x [N, D]   ->   x + attention(norm(x)), then + ffn(norm(x))
  ValueId decoder_layer(int64_t layer, ValueId x);
  // The final norm: x [N, D]   ->   h [N, D], and the product with the head: h   ->   logits [N, V]
  ValueId final_norm(ValueId x);
  ValueId logits(ValueId h, StateId head);

  StateId embedding_table();
  StateId untied_head();
  StateId matrix(const std::string& name, int64_t out, int64_t in, double stddev, Place place);

  const LlamaConfig& c_;
  const Mesh mesh_;
  const TensorParallel tp_;
  Builder b_;

 private:
  ValueId attention(int64_t layer, const std::string& name, ValueId x);
  std::vector<ValueId> queries_keys_values(const std::string& name, ValueId h);
  ValueId own_kv_head(ValueId x);
  ValueId feed_forward(const std::string& name, ValueId x);
  ValueId rms_norm(const std::string& name, ValueId x);
  StateId parameter(State state);
  double output_std() const;

  const DType dtype_;  // of the parameters
};

}  // namespace trine
