// What the article says of serving LLaMA-2 70B.
#include <algorithm>
#include <cmath>

#include "analysis/article/rows.h"
#include "analysis/inference.h"
#include "analysis/link_time.h"
#include "analysis/training_size.h"

namespace trine {
namespace {

using C = const ArticleContext&;
constexpr double kTera = 1e12, kGiga = 1e9, kMega = 1e6, kKilo = 1e3, kMilli = 1e-3, kMicro = 1e-6;
constexpr double kGiB = 1 << 30, kTeraBinary = kGiB * 1024;

double real(int64_t value) { return static_cast<double>(value); }
double parameters(C c) { return real(parameter_count(c.today.model)); }
double layers(C c) { return real(c.today.model.layers); }
double hidden(C c) { return real(c.today.model.hidden); }
double kv_width(C c) { return real(c.today.model.kv_heads * c.today.model.head_dim); }

double article_kv_bytes(C c, double batch) {
  return kv_cache_bytes(c.article.layers, c.article.hidden, c.article.seq * batch);
}
double kv_bytes(C c, double batch) { return kv_cache_bytes(layers(c), kv_width(c), c.article.seq * batch); }
// A token of `batch` sequences through the whole model on `devices` that share it, links aside.
double device_s(C c, const Card& card, double batch, double devices) {
  return std::max(weight_read_s(parameters(c), devices, card.bytes_per_s),
                  product_s(batch, parameters(c), devices, card.flops_per_s));
}
// Its all-reduces over `devices` of a host.
double reduce_s(C c, const Machine& card, double batch, int devices) {
  return all_reduces_per_token(layers(c)) * card.all_reduce_s(devices, activation_bytes(batch, hidden(c)));
}
double network_hop_s(C c, double bytes, double gbit) {
  return c.today.network_latency_s + transfer_s(bytes, bytes_per_s_of_gbit(gbit));
}
// As the article moves a batch's activations: one way, once per transfer.
double article_transfers_s(C c, double bytes, double bytes_per_s) {
  return all_reduces_per_token(c.article.layers) * transfer_s(bytes, bytes_per_s);
}

std::vector<ArticleRow> cache_rows() {
  return {
      {.id = "I01",
       .claim = "The KV cache of a batch takes 80 GB",
       .value = 80,
       .unit = "GiB",
       .tolerance = "exact",
       .verdict = Verdict::kSlip,
       .recomputed = [](C c) { return article_kv_bytes(c, c.article.inference_batch) / kGiB; },
       .realistic = [](C c) { return kv_bytes(c, c.article.inference_batch) / kGiB; },
       .why = "its text says a batch of 4, its formula takes 8; and LLaMA-2 70B has 8 kv heads for 64 heads"},
      {.id = "I02",
       .claim = "which saves 640 T operations a token",
       .value = 640,
       .unit = "x 2^40 FLOP",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return kv_projection_flops(c.article.layers, c.article.hidden, c.article.hidden,
                                        c.article.seq * c.article.inference_batch) /
                    kTeraBinary;
           },
       .realistic =
           [](C c) {
             return kv_projection_flops(layers(c), hidden(c), kv_width(c),
                                        c.article.seq * c.article.inference_batch) /
                    kTera;
           },
       .realistic_unit = "TFLOP",
       .why = "with 8 kv heads the products for keys and values shrink eightfold"},
      {.id = "I03",
       .claim = "that is 16 K operations for each byte of it",
       .value = 16384,
       .unit = "FLOP/B",
       .tolerance = "-",
       .formula_gives = 8192,
       .verdict = Verdict::kSlip,
       .recomputed = [](C c) { return c.recomputed("I02") * kTeraBinary / (c.recomputed("I01") * kGiB); },
       .realistic = [](C c) { return c.realistic("I02") * kTera / (c.realistic("I01") * kGiB); },
       .why = "its own two numbers give hidden = 8,192: multiplication and addition were counted twice"},
      {.id = "I04",
       .claim = "Without it, weights are read 40 T times: tens of seconds",
       .value = 40,
       .unit = "x 2^40 reads",
       .tolerance = "-",
       .formula_gives = 40,
       .verdict = Verdict::kWrongModel,
       .recomputed =
           [](C c) {
             return c.article.seq * c.article.layers * 2 * c.article.hidden * c.article.hidden / kTeraBinary;
           },
       .realistic = [](C c) { return product_s(c.article.seq, parameters(c), 1, c.today.h100.card.flops_per_s); },
       .realistic_unit = "s on an H100 at peak",
       .why = "weights are read once for all tokens of a prompt; the prompt's products are what takes the time"},
      {.id = "I05",
       .claim = "A prompt of 128 tokens does 128 operations for each byte of weights",
       .value = 128,
       .unit = "FLOP/B",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return product_flops(1, 1, c.article.prompt_context) / kInferenceBytes; },
       .realistic = [](C) { return product_flops(1, 1, 1) / kInferenceBytes; },
       .realistic_unit = "FLOP/B while it writes",
       .why = "true of reading the prompt; each token written afterwards does one operation per byte and "
              "sequence"},
      {.id = "I06",
       .claim = "An RTX 4090 is at its balance at a batch of 330",
       .value = 330,
       .unit = "sequences",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return balance_batch(c.article.rtx4090.flops_per_s, c.article.rtx4090.bytes_per_s); },
       .realistic =
           [](C c) { return balance_batch(c.today.rtx4090.card.flops_per_s, c.today.rtx4090.card.bytes_per_s); },
       .why = "165.2 TFLOPS with FP32 sums over 1.008 TB/s: half as many"},
      {.id = "I07",
       .claim = "An H100 is at its balance at a batch of 590",
       .value = 590,
       .unit = "sequences",
       .tolerance = "0.2%",
       .verdict = Verdict::kWrongInput,
       .recomputed = [](C c) { return balance_batch(c.article.h100.flops_per_s, c.article.h100.bytes_per_s); },
       .realistic = [](C c) { return balance_batch(c.today.h100.card.flops_per_s, c.today.h100.card.bytes_per_s); },
       .why = "1,979 TFLOPS count products with zeros that sparsity skips; dense ones run at 989.4: half as many"},
      {.id = "I08",
       .claim = "The cache of one prompt takes 5 GB",
       .value = 5,
       .unit = "GiB",
       .tolerance = "-",
       .formula_gives = 10,
       .verdict = Verdict::kSlip,
       .recomputed = [](C c) { return article_kv_bytes(c, 1) / kGiB; },
       .realistic = [](C c) { return kv_bytes(c, 1) / kGiB; },
       .why = "80 GB are those of 8 prompts: 10 each; with 8 kv heads an eighth"},
      {.id = "I09",
       .claim = "An intermediate result takes 0.5 GB",
       .value = 0.5,
       .unit = "GiB",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return activation_bytes(c.article.inference_batch * c.article.seq, c.article.hidden) / kGiB; },
       .realistic =
           [](C c) { return activation_bytes(c.article.inference_batch * c.article.seq, hidden(c)) / kGiB; },
       .why = "8 prompts of 4,096 tokens with 8,192 values of 2 bytes; one such tensor, and no layer keeps it"},
      {.id = "I10",
       .claim = "70B and its cache take 3 H100",
       .value = 3,
       .unit = "cards",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return devices_to_hold((c.printed("T08") + c.printed("I01")) * kGiga, c.article.h100.memory_bytes);
           },
       .realistic =
           [](C c) {
             return devices_to_hold(kInferenceBytes * parameters(c) + c.realistic("I01") * kGiB,
                                    c.today.a100.card.memory_bytes * c.today.usable_memory);
           },
       .why = "with 8 kv heads two are enough: 138 GB of weights and 10.7 GB of caches"},
      {.id = "I11",
       .claim = "or 8 RTX 4090, with a batch of 4",
       .value = 8,
       .unit = "cards",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             const double kv = c.printed("I01") * c.article.kv_batch / c.article.inference_batch;
             return devices_to_hold((c.printed("T08") + kv) * kGiga, c.article.rtx4090.memory_bytes);
           },
       .realistic =
           [](C c) {
             return devices_to_hold(kInferenceBytes * parameters(c) + kv_bytes(c, c.article.kv_batch),
                                    c.today.rtx4090.card.memory_bytes * c.today.usable_memory);
           },
       .why =
           "with 8 kv heads fewer would hold it; eight share its heads evenly and leave room for a larger batch"},
  };
}

std::vector<ArticleRow> pipeline_rows() {
  return {
      {.id = "I12",
       .claim = "A stage of an eighth of it is read in 0.0175 s",
       .value = 0.0175,
       .unit = "s",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return weight_read_s(c.article.parameters, c.article.devices, c.article.rtx4090.bytes_per_s);
           },
       .realistic =
           [](C c) { return weight_read_s(parameters(c), c.article.devices, c.today.rtx4090.card.bytes_per_s); },
       .why = "each token reads all weights once"},
      {.id = "I13",
       .claim = "so a token takes 0.14 s, 7 a second",
       .value = 0.14,
       .unit = "s",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return weight_read_s(c.article.parameters, 1, c.article.rtx4090.bytes_per_s); },
       .realistic = [](C c) { return weight_read_s(parameters(c), 1, c.today.rtx4090.card.bytes_per_s); },
       .why = "stages of a pipeline read one after another: eight cards do not write one text faster"},
      {.id = "I14",
       .claim = "A batch of 1,024 computes 0.0543 s in a stage",
       .value = 0.0543,
       .unit = "s",
       .tolerance = "0.1%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return product_s(c.article.large_batch, c.article.parameters, c.article.devices,
                              c.article.rtx4090.flops_per_s);
           },
       .realistic =
           [](C c) {
             return product_s(c.article.large_batch, parameters(c), c.article.devices,
                              c.today.rtx4090.card.flops_per_s);
           },
       .why = "with FP32 sums twice as long"},
      {.id = "I15",
       .claim = "128 KB cross PCIe in 4 us",
       .value = 4,
       .unit = "us",
       .tolerance = "3%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return transfer_s(activation_bytes(c.article.inference_batch, c.article.hidden),
                               c.article.rtx4090.link_bytes_per_s) /
                    kMicro;
           },
       .realistic =
           [](C c) {
             return c.today.rtx4090.message_s(activation_bytes(c.article.inference_batch, hidden(c)), 0, 1) /
                    kMicro;
           },
       .why = "so small a message is all latency: through the host's memory, and NCCL's own"},
      {.id = "I16",
       .claim = "330 sequences' 5.28 MB cross it in 0.16 ms",
       .value = 0.16,
       .unit = "ms",
       .tolerance = "6%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) {
             return transfer_s(activation_bytes(c.printed("I06"), c.article.hidden),
                               c.article.rtx4090.link_bytes_per_s) /
                    kMilli;
           },
       .realistic = [](C c) { return activation_bytes(c.printed("I06"), hidden(c)) / kMega; },
       .realistic_unit = "MB",
       .why = "16 KB are 16,384 bytes, so 5.407 MB (the article goes on with 5.4); without peer-to-peer copies a "
              "message of that size takes {} ms",
       .also = {[](C c) {
         return c.today.rtx4090.message_s(activation_bytes(c.printed("I06"), hidden(c)), 0, 1) / kMilli;
       }}},
      {.id = "I17",
       .claim = "16 KB cross 1 Gb/s in 0.25 ms",
       .value = 0.25,
       .unit = "ms",
       .tolerance = "-",
       .formula_gives = 0.131072,
       .verdict = Verdict::kSlip,
       .recomputed =
           [](C c) { return transfer_s(c.article.row_bytes, bytes_per_s_of_gbit(c.article.slow_gbit)) / kMilli; },
       .realistic =
           [](C c) {
             return transfer_s(activation_bytes(1, hidden(c)), bytes_per_s_of_gbit(c.article.slow_gbit)) / kMilli;
           },
       .why = "0.25 would be 32 KB; the rows that build on it are too pessimistic"},
      {.id = "I18",
       .claim = "Eight hops with their latency take 4 ms",
       .value = 4,
       .unit = "ms",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.devices * 2 * c.printed("I17"); },
       .realistic =
           [](C c) {
             return c.article.devices * network_hop_s(c, activation_bytes(1, hidden(c)), c.article.slow_gbit) /
                    kMilli;
           },
       .why = "it allows as much for latency as for the bytes; a network's latency is less"},
      {.id = "I19",
       .claim = "so a network is busy 1/72 of the time",
       .value = 1.0 / 72,
       .unit = "part",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.printed("I17") / std::round(c.printed("I12") / kMilli); },
       .realistic = [](C c) { return c.realistic("I17") * kMilli / c.realistic("I12"); },
       .why = "of a stage's time for one sequence; half of it with the right bytes"},
      {.id = "I20",
       .claim = "330 sequences take 41 ms a hop at 1 Gb/s",
       .value = 41,
       .unit = "ms",
       .tolerance = "4%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return transfer_s(c.printed("I06") * c.article.row_bytes_rounded,
                               bytes_per_s_of_gbit(c.article.slow_gbit)) /
                    kMilli;
           },
       .realistic =
           [](C c) {
             return transfer_s(activation_bytes(c.printed("I06"), hidden(c)),
                               bytes_per_s_of_gbit(c.article.slow_gbit)) /
                    kMilli;
           },
       .why = "a sequence is 16,384 bytes, not 16,000; eight hops take a third of a second"},
      {.id = "I21",
       .claim = "At 1 Gb/s 330 sequences write only 3 tokens a second each",
       .value = 3,
       .unit = "tokens/s",
       .tolerance = "-",
       .formula_gives = 3.04878,
       .verdict = Verdict::kSlip,
       .recomputed = [](C c) { return tokens_per_s(c.article.devices * c.printed("I20") * kMilli); },
       .realistic =
           [](C c) { return tokens_per_s(c.article.devices * c.printed("I20") * kMilli + c.printed("I13")); },
       .why = "it forgets the 0.14 s of reading weights; with arithmetic at FP32 sums {}",
       .also = {[](C c) {
         return tokens_per_s(c.article.devices * c.realistic("I20") * kMilli +
                             device_s(c, c.today.rtx4090.card, c.printed("I06"), 1));
       }}},
      {.id = "I22",
       .claim = "5 tokens a second leave 7.5 ms for each hop",
       .value = 7.5,
       .unit = "ms",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return (c.article.token_target_s - c.printed("I13")) / c.article.devices / kMilli; },
       .realistic =
           [](C c) { return (c.article.token_target_s - c.realistic("I13")) / c.article.devices / kMilli; },
       .why = "0.2 s a token less the reading of all weights, over eight hops; true while a batch's arithmetic is "
              "below that reading"},
      {.id = "I23",
       .claim = "in which 960 KB pass at 1 Gb/s: a batch of 60",
       .value = 960,
       .unit = "KB",
       .tolerance = "3%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) { return c.printed("I22") * kMilli * bytes_per_s_of_gbit(c.article.slow_gbit) / kKilo; },
       .realistic = [](C c) { return c.recomputed("I23") * kKilo / activation_bytes(1, hidden(c)); },
       .realistic_unit = "sequences",
       .why = "937.5 KB of 16,384 bytes a sequence"},
      {.id = "I24",
       .claim = "which is 2,400 tokens a second",
       .value = 2400,
       .unit = "tokens/s",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             const double batch = c.printed("I23") * kKilo / c.article.row_bytes_rounded;
             return tokens_per_s(c.article.token_target_s, batch * c.article.devices);
           },
       .realistic =
           [](C c) { return tokens_per_s(c.article.token_target_s, c.realistic("I23") * c.article.devices); },
       .why = "eight batches under way at once"},
      {.id = "I48",
       .claim = "At 10 Gb/s 330 sequences write 5 tokens a second each",
       .value = 5,
       .unit = "tokens/s",
       .tolerance = "12%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s(c.article.devices * c.article.hop_10g_s + c.printed("I13")); },
       .realistic =
           [](C c) {
             const double bytes = activation_bytes(c.printed("I06"), hidden(c));
             return tokens_per_s(c.article.devices * network_hop_s(c, bytes, c.article.desktop_gbit) +
                                 device_s(c, c.today.rtx4090.card, c.printed("I06"), 1));
           },
       .why = "with FP32 sums the arithmetic of 330 sequences takes twice as long as reading the weights"},
  };
}

std::vector<ArticleRow> tensor_parallel_rows() {
  return {
      {.id = "I26",
       .claim = "Tensor parallelism makes 160 transfers a token",
       .value = 160,
       .unit = "transfers",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return all_reduces_per_token(c.article.layers); },
       .realistic = [](C c) { return all_reduces_per_token(layers(c)); },
       .why = "two all-reduces in each layer"},
      {.id = "I27",
       .claim = "of 16 KB, 1 us each on PCIe",
       .value = 1,
       .unit = "us",
       .tolerance = "-",
       .formula_gives = 0.512,
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) { return transfer_s(c.article.row_bytes, c.article.rtx4090.link_bytes_per_s) / kMicro; },
       .realistic = [](C c) { return c.today.rtx4090.all_reduce_s(8, activation_bytes(1, hidden(c))) / kMicro; },
       .why = "the bytes take half of that, and an all-reduce of so few is all latency"},
      {.id = "I28",
       .claim = "All transfers of a token take 4.8 ms, latency included",
       .value = 4.8,
       .unit = "ms",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return all_reduces_per_token(c.article.layers) * c.article.small_all_reduce_s / kMilli; },
       .realistic = [](C c) { return reduce_s(c, c.today.rtx4090, 1, 8) / kMilli; },
       .why = "it takes 30 us for each; measured over eight RTX 4090 an all-reduce takes {} us",
       .also = {[](C c) { return c.realistic("I27"); }}},
      {.id = "I29",
       .claim = "One text is written at 45 tokens a second",
       .value = 45,
       .unit = "tokens/s",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s(c.printed("I12") + c.printed("I28") * kMilli); },
       .realistic = [](C c) { return tokens_per_s(c.realistic("I12") + c.realistic("I28") * kMilli); },
       .why = "the same with measured all-reduces"},
      {.id = "I30",
       .claim = "330 sequences spend 27 ms a token in transfers",
       .value = 27,
       .unit = "ms",
       .tolerance = "1%",
       .verdict = Verdict::kWrongModel,
       .recomputed =
           [](C c) {
             return article_transfers_s(c, activation_bytes(c.printed("I06"), c.article.hidden),
                                        c.article.rtx4090.link_bytes_per_s) /
                    kMilli;
           },
       .realistic = [](C c) { return reduce_s(c, c.today.rtx4090, c.printed("I06"), 8) / kMilli; },
       .why = "a ring sends 2 (n - 1) / n of the bytes, "
              "at the rate that eight cards without peer-to-peer copies reach"},
      {.id = "I31",
       .claim = "330 sequences are written at 22 tokens a second each",
       .value = 22,
       .unit = "tokens/s",
       .tolerance = "3%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s((c.printed("I30") * kMilli) + c.printed("I12")); },
       .realistic =
           [](C c) {
             return tokens_per_s(c.realistic("I30") * kMilli +
                                 device_s(c, c.today.rtx4090.card, c.printed("I06"), c.article.devices));
           },
       .why = "with measured all-reduces, and arithmetic with FP32 sums"},
      {.id = "I32",
       .claim = "On eight H100 590 sequences spend 3.2 ms a token in transfers",
       .value = 3.2,
       .unit = "ms",
       .tolerance = "8%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) {
             return article_transfers_s(c, activation_bytes(c.printed("I07"), c.article.hidden),
                                        c.article.h100.link_bytes_per_s) /
                    kMilli;
           },
       .realistic = [](C c) { return reduce_s(c, c.today.h100, c.printed("I07"), 8) / kMilli; },
       .why = "an all-reduce of 9.7 MB over NVLink is far from the link's rate"},
      {.id = "I33",
       .claim = "and 5.2 ms a token in reading weights",
       .value = 5.2,
       .unit = "ms",
       .tolerance = "0.5%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return weight_read_s(c.article.parameters, c.article.devices, c.article.h100.bytes_per_s) / kMilli;
           },
       .realistic =
           [](C c) {
             return weight_read_s(parameters(c), c.article.devices, c.today.h100.card.bytes_per_s) / kMilli;
           },
       .why = "138 GB over eight cards of 3.352 TB/s each"},
      {.id = "I34",
       .claim = "590 sequences are written at 119 tokens a second each",
       .value = 119,
       .unit = "tokens/s",
       .tolerance = "0.1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s((c.printed("I33") + c.printed("I32")) * kMilli); },
       .realistic =
           [](C c) {
             return tokens_per_s(c.realistic("I32") * kMilli +
                                 device_s(c, c.today.h100.card, c.printed("I07"), c.article.devices));
           },
       .why = "with measured all-reduces, and the arithmetic of 590 sequences at dense FLOPS"},
      {.id = "I35",
       .claim = "Eight RTX 4090 write 12,200 tokens a second in all",
       .value = 12200,
       .unit = "tokens/s",
       .tolerance = "0.5%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s(c.printed("I30") * kMilli, c.printed("I06")); },
       .realistic = [](C c) { return c.realistic("I31") * c.printed("I06"); },
       .why = "it lets transfers and reading overlap; one after another, and measured, it is less"},
      {.id = "I43",
       .claim = "Eight H100 write 113,000 tokens a second in all",
       .value = 113000,
       .unit = "tokens/s",
       .tolerance = "0.5%",
       .verdict = Verdict::kWrongInput,
       .recomputed = [](C c) { return tokens_per_s(c.printed("I33") * kMilli, c.printed("I07")); },
       .realistic =
           [](C c) {
             return tokens_per_s(c.printed("I33") * kMilli,
                                 balance_batch(c.today.h100.card.flops_per_s, c.today.h100.card.bytes_per_s));
           },
       .why =
           "the balance at dense FLOPS, links still left out; with measured all-reduces behind the arithmetic {}",
       .also = {h100_with_links}},
      {.id = "I50",
       .claim = "Over 200 Gb/s the transfers of 330 sequences take 35 ms",
       .value = 35,
       .unit = "ms",
       .tolerance = "4%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) {
             return article_transfers_s(c, c.printed("I06") * c.article.row_bytes_rounded,
                                        bytes_per_s_of_gbit(c.article.fast_gbit)) /
                    kMilli;
           },
       .realistic =
           [](C c) {
             return all_reduces_per_token(layers(c)) *
                    ring_all_reduce_s(activation_bytes(c.printed("I06"), hidden(c)), c.article.devices,
                                      bytes_per_s_of_gbit(c.article.fast_gbit), c.today.network_latency_s) /
                    kMilli;
           },
       .why = "one copy, one way; a ring over eight hosts sends 1.75 of it in 14 messages, each with its latency"},
      {.id = "I51",
       .claim = "330 sequences are written at 19 tokens a second each over it",
       .value = 19,
       .unit = "tokens/s",
       .tolerance = "0.5%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return tokens_per_s(c.printed("I50") * kMilli + c.printed("I12")); },
       .realistic =
           [](C c) {
             return tokens_per_s(c.realistic("I50") * kMilli +
                                 device_s(c, c.today.rtx4090.card, c.printed("I06"), c.article.devices));
           },
       .why = "with the ring, and arithmetic with FP32 sums"},
      {.id = "I53",
       .claim = "Two hosts of four, 25 Gb/s between them: 78 ms a token",
       .value = 78,
       .unit = "ms",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return c.printed("I30") + 2 * c.article.uplink_hop_s / kMilli + 2 * c.printed("I12") / kMilli;
           },
       .realistic =
           [](C c) {
             const double bytes = activation_bytes(c.printed("I06"), hidden(c));
             return (reduce_s(c, c.today.rtx4090, c.printed("I06"), 4) +
                     2 * network_hop_s(c, bytes, c.article.uplink_gbit) +
                     2 * device_s(c, c.today.rtx4090.card, c.printed("I06"), c.article.devices)) /
                    kMilli;
           },
       .why =
           "8 ms a hop let each of four cards send the whole activation, and one copy is enough; but all-reduces "
           "over four cards as measured, and arithmetic with FP32 sums, take longer than it says"},
  };
}

}  // namespace

double h100_with_links(const ArticleContext& c) {
  const double batch = balance_batch(c.today.h100.card.flops_per_s, c.today.h100.card.bytes_per_s);
  return tokens_per_s(
      reduce_s(c, c.today.h100, batch, 8) + device_s(c, c.today.h100.card, batch, c.article.devices), batch);
}

std::span<const ArticleRow> inference_rows() {
  static const std::vector<ArticleRow> kRows = [] {
    std::vector<ArticleRow> rows = cache_rows();
    for (const auto& more : {pipeline_rows(), tensor_parallel_rows()})
      rows.insert(rows.end(), more.begin(), more.end());
    return rows;
  }();
  return kRows;
}

}  // namespace trine
