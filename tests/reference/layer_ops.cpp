// N tokens, D or K features in, M features out, V vocabulary.
#include <cmath>
#include <numeric>

#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

// The first write of a step overwrites.
void begin_accumulation(const Call& call, Tensor& state) {
  if (call.first_write) state = Tensor(state.shape);
}

void embedding(const Call& call) {
  const Tensor &ids = call.x(0), &table = call.x(1);
  const int64_t first = local_begin(call.in_types[1], 0, call.mesh, call.coordinate);
  for (int64_t n = 0; n < ids.size(); ++n) {
    const int64_t row = static_cast<int64_t>(ids(n)) - first;
    const bool mine = 0 <= row && row < table.rows();
    for (int64_t d = 0; d < table.columns(); ++d) call.y(0)(n, d) = mine ? table(row, d) : 0;
  }
}

void embedding_grad(const Call& call) {
  const Tensor &ids = call.x(0), &dy = call.x(1);
  Tensor& dtable = call.y(0);
  begin_accumulation(call, dtable);
  const int64_t first = local_begin(call.out_types[0], 0, call.mesh, call.coordinate);
  for (int64_t n = 0; n < ids.size(); ++n) {
    const int64_t row = static_cast<int64_t>(ids(n)) - first;
    if (row < 0 || row >= dtable.rows()) continue;
    for (int64_t d = 0; d < dtable.columns(); ++d) dtable(row, d) += dy(n, d);
  }
}

void add_multiple(double* y, double factor, const double* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

// y[n,m] = sum_k x[n,k] w[m,k]
void linear(const Call& call) {
  const Tensor& x = call.x(0);
  for (size_t i = 0; i < call.out.size(); ++i) {
    const Tensor& w = call.x(1 + i);
    Tensor& y = call.y(i);
    for (int64_t n = 0; n < x.rows(); ++n)
      for (int64_t m = 0; m < w.rows(); ++m) {
        const double *x_row = x.row(n), *w_row = w.row(m);
        y(n, m) = std::inner_product(x_row, x_row + x.columns(), w_row, 0.0);
      }
  }
}

// dx[n,k] = sum_i sum_m dy_i[n,m] w_i[m,k]
void linear_dx(const Call& call) {
  const size_t count = call.in.size() / 2;
  Tensor& dx = call.y(0);
  dx = Tensor(dx.shape);
  for (size_t i = 0; i < count; ++i) {
    const Tensor &dy = call.x(i), &w = call.x(count + i);
    for (int64_t n = 0; n < dx.rows(); ++n)
      for (int64_t m = 0; m < w.rows(); ++m) add_multiple(dx.row(n), dy(n, m), w.row(m), dx.columns());
  }
}

// dw_i[m,k] += sum_n dy_i[n,m] x[n,k]
void linear_dw(const Call& call) {
  const Tensor& x = call.x(0);
  for (size_t i = 0; i < call.out.size(); ++i) {
    const Tensor& dy = call.x(1 + i);
    Tensor& dw = call.y(i);
    begin_accumulation(call, dw);
    for (int64_t n = 0; n < x.rows(); ++n)
      for (int64_t m = 0; m < dw.rows(); ++m) add_multiple(dw.row(m), dy(n, m), x.row(n), dw.columns());
  }
}

void rms_norm_of(const Tensor& x, const Tensor& weight, double eps, Tensor& y, Tensor& rstds) {
  for (int64_t n = 0; n < x.rows(); ++n) {
    double squares = 0;
    for (int64_t d = 0; d < x.columns(); ++d) squares += x(n, d) * x(n, d);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(x.columns()) + eps);
    rstds(n) = rstd;
    for (int64_t d = 0; d < x.columns(); ++d) y(n, d) = x(n, d) * rstd * weight(d);
  }
}

void rms_norm(const Call& call) { rms_norm_of(call.x(0), call.x(1), call.as<RmsNorm>().eps, call.y(0), call.y(1)); }

void add_rms_norm(const Call& call) {
  call.y(0) = call.x(0) + call.x(1);
  rms_norm_of(call.y(0), call.x(2), call.as<AddRmsNorm>().norm.eps, call.y(1), call.y(2));
}

// With z = x rstd:  dz = dy weight,  dx = rstd (dz - z mean(dz z)),  dweight = sum_n dy z.
void rms_norm_grad_of(const Call& call, Tensor& dx, Tensor& dweight) {
  const Tensor &x = call.x(0), &weight = call.x(1), &rstd = call.x(2), &dy = call.x(3);
  dweight = Tensor(dweight.shape);
  for (int64_t n = 0; n < x.rows(); ++n) {
    double mean = 0;
    for (int64_t d = 0; d < x.columns(); ++d)
      mean += dy(n, d) * weight(d) * x(n, d) * rstd(n) / static_cast<double>(x.columns());
    for (int64_t d = 0; d < x.columns(); ++d) {
      const double z = x(n, d) * rstd(n);
      dx(n, d) = rstd(n) * (dy(n, d) * weight(d) - z * mean);
      dweight(d) += dy(n, d) * z;
    }
  }
}

void rms_norm_grad(const Call& call) { rms_norm_grad_of(call, call.y(0), call.y(1)); }

void rms_norm_grad_add(const Call& call) {
  rms_norm_grad_of(call, call.y(1), call.y(0));
  call.y(1) = call.y(1) + call.x(4);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void swiglu(const Call& call) {
  for (int64_t i = 0; i < call.x(0).size(); ++i) {
    const double gate = call.x(0)(i), up = call.x(1)(i);
    call.y(0)(i) = gate * sigmoid(gate) * up;
  }
}

void swiglu_grad(const Call& call) {
  for (int64_t i = 0; i < call.x(0).size(); ++i) {
    const double gate = call.x(0)(i), up = call.x(1)(i), dh = call.x(2)(i), s = sigmoid(gate);
    call.y(0)(i) = dh * up * (s + gate * s * (1 - s));
    call.y(1)(i) = dh * gate * s;
  }
}

void add(const Call& call) { call.y(0) = call.x(0) + call.x(1); }

// The reference never rounds.
void cast(const Call& call) { call.y(0) = call.x(0); }

void accumulate(const Call& call) {
  if (call.as<Accumulate>().overwrites) begin_accumulation(call, call.y(0));
  call.y(0) = call.y(0) + call.x(0);
}

}  // namespace

void add_layer_ops(std::map<std::string_view, ReferenceOp>& table) {
  table["embedding"] = embedding;
  table["embedding_grad"] = embedding_grad;
  table["linear"] = linear;
  table["linear_dx"] = linear_dx;
  table["linear_dw"] = linear_dw;
  table["rms_norm"] = rms_norm;
  table["rms_norm_grad"] = rms_norm_grad;
  table["add_rms_norm"] = add_rms_norm;
  table["rms_norm_grad_add"] = rms_norm_grad_add;
  table["swiglu"] = swiglu;
  table["swiglu_grad"] = swiglu_grad;
  table["add"] = add;
  table["cast"] = cast;
  table["accumulate"] = accumulate;
}

}  // namespace trine::reference
