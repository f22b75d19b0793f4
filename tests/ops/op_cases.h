// The one table of op cases: which op, with inputs of which types and values. It is read in three modes: kernels
// against the f64 reference (tests/kernels), vjp against finite differences (tests/ops), speed from cost() (bench).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/op.h"
#include "tests/reference/tensor.h"

namespace trine::reference {

// An input or the old value of a written state. `make` may read the inputs before it (log-sum-exp from q, k, v).
struct InputCase {
  TensorType type;
  std::function<Tensor(const TensorType& type, uint64_t seed, const std::vector<Tensor>& earlier)> make;
};

struct OpCase {
  std::string name;  // "linear/n=7,k=5,m=3"
  OpPtr op;
  std::vector<InputCase> inputs;
  std::vector<InputCase> states;  // as many as the op writes
  int num_dy = 0;  // the first outputs whose gradient vjp takes; 0: not checked by finite differences
  int microbatch = 0;
  double low_precision_slack = 1;  // how many roundings of its element type an output may be off by, beside its own
};

// All cases, with floats of `compute` where the op computes in the training precision:
// odd sizes, size 1, ignored labels.
std::vector<OpCase> op_cases(DType compute);
// A few cases each of the size that training has.
std::vector<OpCase> speed_cases(DType compute);

Types input_types(const OpCase& op_case);
// Values of the inputs (or states), each rounded to its element type.
std::vector<Tensor> make_inputs(const OpCase& op_case);
std::vector<Tensor> make_states(const OpCase& op_case);

Tensor rounded(Tensor x, DType dtype);

}  // namespace trine::reference
