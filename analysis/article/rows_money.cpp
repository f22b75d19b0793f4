// What the article says of prices.
#include <cmath>

#include "analysis/article/rows.h"
#include "analysis/inference.h"
#include "analysis/money.h"

namespace trine {
namespace {

using C = const ArticleContext&;
constexpr double kMega = 1e6, kGiga = 1e9, kKilo = 1e3;

HostCost article_host(C c) {
  return {.devices = c.article.devices,
          .device_w = c.article.card_w,
          .chassis_usd = c.article.host_usd,
          .chassis_w = c.article.host_w};
}
// Eight cards with their share of a system as it was sold, and their own power.
HostCost today_host(C c, const Card& card, double system_usd) {
  return {.devices = c.article.devices,
          .device_usd = system_usd,
          .device_w = card.power_w,
          .chassis_w = c.article.host_w};
}
HostCost host_4090(C c) { return today_host(c, c.today.rtx4090.card, c.today.system_4090_usd); }
HostCost host_h100(C c) { return today_host(c, c.today.h100.card, c.today.system_h100_usd); }
double millions_per_hour(double tokens_per_second) { return tokens_per_second * 3600 / kMega; }

// Hosts of one card each, joined by a switch.
double desktops_usd(C c, double card_usd, double nic_usd, double switch_usd) {
  return c.article.devices * (card_usd + nic_usd + c.article.desktop_usd) + switch_usd;
}
double two_hosts_usd(C c, double card_usd) {
  return c.article.devices * card_usd + 2 * (c.article.nic_25g_usd + c.article.host_without_cards_usd);
}

std::vector<ArticleRow> token_rows() {
  return {
      {.id = "I36",
       .claim = "Eight RTX 4090 for 40,000 USD cost 1.52 USD an hour over three years",
       .value = 1.52,
       .unit = "USD/h",
       .tolerance = "0.3%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return purchase_usd_per_hour(article_host(c).usd()); },
       .realistic = [](C c) { return purchase_usd_per_hour(host_4090(c).usd()); },
       .why = "40,000 USD are the author's guess; Lambda sold systems of eight at {} USD a card",
       .also = {[](C c) { return c.today.system_4090_usd; }}},
      {.id = "I37",
       .claim = "and 5 kW 0.5 USD an hour",
       .value = 0.5,
       .unit = "USD/h",
       .tolerance = "5%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return energy_usd_per_hour(article_host(c).watts()); },
       .realistic = [](C c) { return energy_usd_per_hour(host_4090(c).watts()); },
       .why = "400 W a card and 2 kW of host are 5.2 kW; at the {} W of the data sheet it is {} kW",
       .also = {[](C c) { return c.today.rtx4090.card.power_w; },
                [](C c) { return host_4090(c).watts() / kKilo; }}},
      {.id = "I38",
       .claim = "They write 44 million tokens an hour",
       .value = 44,
       .unit = "million tokens/h",
       .tolerance = "0.3%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return millions_per_hour(c.printed("I35")); },
       .realistic = [](C c) { return millions_per_hour(c.realistic("I35")); },
       .why = "from I35: what holds today is that of measured all-reduces without peer-to-peer copies"},
      {.id = "I39",
       .claim = "Eight RTX 4090 write 22 million tokens for a USD",
       .value = 22,
       .unit = "million tokens/USD",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return million_tokens_per_usd(c.printed("I35"), c.printed("I36") + c.printed("I37")); },
       .realistic =
           [](C c) { return million_tokens_per_usd(c.realistic("I35"), c.realistic("I36") + c.realistic("I37")); },
       .why = "I35 over I36 and I37: hosts are cheaper today, but write less over their links"},
      {.id = "I40",
       .claim = "44 times what GPT-3.5 sells for a USD",
       .value = 44,
       .unit = "x",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.printed("I39") * kMega / c.article.gpt35_tokens_per_usd; },
       .realistic = [](C c) { return c.realistic("I39") * kMega / c.article.gpt35_tokens_per_usd; },
       .why = "the article's 0.5 million tokens for a USD; at a batch that keeps every card full around the "
              "clock"},
      {.id = "I41",
       .claim = "Eight H100 for 300,000 USD cost 11.4 USD an hour",
       .value = 11.4,
       .unit = "USD/h",
       .tolerance = "0.2%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return purchase_usd_per_hour(c.article.h100_host_usd); },
       .realistic = [](C c) { return purchase_usd_per_hour(host_h100(c).usd()); },
       .why = "Lambda sold systems of eight at {} USD a card",
       .also = {[](C c) { return c.today.system_h100_usd; }}},
      {.id = "I42",
       .claim = "with 10 kW 12.4",
       .value = 12.4,
       .unit = "USD/h",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.printed("I41") + energy_usd_per_hour(c.article.h100_host_w); },
       .realistic = [](C c) { return host_h100(c).usd_per_hour(); },
       .why = "at {} W a card and {} kW of host",
       .also = {[](C c) { return c.today.h100.card.power_w; }, [](C c) { return c.article.host_w / kKilo; }}},
      {.id = "I44",
       .claim = "Eight H100 write 33 million tokens for a USD",
       .value = 33,
       .unit = "million tokens/USD",
       .tolerance = "1%",
       .verdict = Verdict::kWrongInput,
       .recomputed = [](C c) { return million_tokens_per_usd(c.recomputed("I43"), c.printed("I42")); },
       .realistic = [](C c) { return million_tokens_per_usd(c.realistic("I43"), c.printed("I42")); },
       .why = "half the batch at dense FLOPS, so half the tokens; links are still left out"},
      {.id = "I45",
       .claim = "A token costs 30 % less on H100",
       .value = 0.3,
       .unit = "part",
       .tolerance = "-",
       .formula_gives = 1 - 22.0 / 33,
       .verdict = Verdict::kWrongInput,
       .recomputed = [](C c) { return 1 - c.printed("I39") / c.printed("I44"); },
       .realistic = [](C c) { return c.printed("I39") / c.realistic("I44"); },
       .realistic_unit = "x, RTX 4090 over H100",
       .why = "with dense FLOPS it turns round; with measured links, too: {} million tokens for a USD against {}",
       .also = {[](C c) { return c.realistic("I39"); },
                [](C c) { return million_tokens_per_usd(h100_with_links(c), c.realistic("I42")); }}},
      {.id = "I46",
       .claim = "Six times the price, ten times the tokens",
       .value = 10,
       .unit = "x",
       .tolerance = "8%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return c.printed("I43") / c.printed("I35"); },
       .realistic = [](C c) { return c.realistic("I43") / c.printed("I35"); },
       .why = "with dense FLOPS half of it: I43 of today over the article's I35, less than six times the price"},
      {.id = "I49",
       .claim = "Eight desktops with 10 Gb/s cost 20,000 USD",
       .value = 20000,
       .unit = "USD",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return desktops_usd(c, c.article.rtx4090.price_usd, c.article.nic_10g_usd, c.article.switch_10g_usd);
           },
       .realistic =
           [](C c) {
             return desktops_usd(c, c.today.rtx4090.card.price_usd, c.article.nic_10g_usd,
                                 c.article.switch_10g_usd);
           },
       .why = "eight cards at 1,600 USD, with NICs, desktops and a switch at the article's prices"},
      {.id = "I52",
       .claim = "with 200 Gb/s 30,000",
       .value = 30000,
       .unit = "USD",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return desktops_usd(c, c.article.rtx4090.price_usd, c.article.nic_200g_usd, c.article.switch_200g_usd);
           },
       .realistic =
           [](C c) {
             return desktops_usd(c, c.today.rtx4090.card.price_usd, c.article.nic_200g_usd,
                                 c.article.switch_200g_usd);
           },
       .why = "eight cards at 1,600 USD, with NICs, desktops and a switch at the article's prices"},
      {.id = "I54",
       .claim = "Two hosts of four cost 19,500",
       .value = 19500,
       .unit = "USD",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return two_hosts_usd(c, c.article.rtx4090.price_usd); },
       .realistic = [](C c) { return two_hosts_usd(c, c.today.rtx4090.card.price_usd); },
       .why = "eight cards at 1,600 USD, with NICs and hosts at the article's prices"},
      {.id = "I55",
       .claim = "Eight desktops at that price write 35 million tokens for a USD",
       .value = 35,
       .unit = "million tokens/USD",
       .tolerance = "0.5%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return c.printed("I38") / (purchase_usd_per_hour(c.printed("I49")) + c.printed("I37")); },
       .realistic =
           [](C c) {
             const double usd_per_hour = purchase_usd_per_hour(c.realistic("I49")) + c.realistic("I37");
             return million_tokens_per_usd(c.realistic("I48") * c.printed("I06") * c.article.devices, usd_per_hour);
           },
       .why =
           "it takes the throughput of one host; here it is that of a pipeline over 10 Gb/s, each stage with 330 "
           "sequences of its own, if their caches fit"},
      {.id = "I56",
       .claim = "The same tokens take nine hosts of RTX 4090: 45 kW instead of 10",
       .value = 45,
       .unit = "kW",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return std::round(c.recomputed("I46")) * c.article.rtx4090_host_w / kKilo; },
       .realistic = [](C c) { return std::ceil(c.realistic("I46")) * host_4090(c).watts() / kKilo; },
       .why = "with dense FLOPS an H100 host does the work of half as many, five hosts of {} kW",
       .also = {[](C c) { return host_4090(c).watts() / kKilo; }}},
  };
}

std::vector<ArticleRow> price_rows() {
  return {
      {.id = "C01",
       .claim = "An H100 costs 2,000 USD to make",
       .value = 2000,
       .unit = "USD",
       .tolerance = "6%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return c.article.wafer_usd / c.article.dies_per_wafer + c.article.packaging_usd +
                    c.article.hbm_gb * c.article.hbm_usd_per_gb + c.article.board_usd;
           },
       .why = "the author's own assumptions add up; nothing public says better"},
      {.id = "C02",
       .claim = "an RTX 4090 at most 900",
       .value = 900,
       .unit = "USD",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return c.article.ada_die_usd + c.article.gddr_usd + c.article.ada_packaging_usd +
                    c.article.ada_rest_usd;
           },
       .why = "the author's own assumptions add up; nothing public says better"},
      {.id = "C03",
       .claim = "500,000 H100 at 40,000 USD are 20 billion",
       .value = 20,
       .unit = "billion USD",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.h100_list_usd * c.article.h100_sold / kGiga; },
       .why = "a product of two guesses of the author"},
      {.id = "C04",
       .claim = "For a USD an RTX 4090 trains ten times as much as an H100",
       .value = 10,
       .unit = "x",
       .tolerance = "10%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return c.article.h100_usd / c.article.rtx4090.price_usd / c.article.speed_ratio_of_cards; },
       .realistic =
           [](C c) {
             return c.today.system_h100_usd / c.today.system_4090_usd / (c.today.bert_h100 / c.today.bert_4090);
           },
       .why = "cards alone; whole systems, and the SXM card's speed in BERT-large, leave about half"},
      {.id = "C05",
       .claim = "Renting an H100 out pays for it in 7 months",
       .value = 5.95,
       .unit = "USD/h",
       .tolerance = "-",
       .formula_gives = 5.95238,
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return c.article.h100_usd / (c.article.payback_months * c.article.days_of_a_month * 24); },
       .why = "the rent that this implies, without power and idle hours; such a price was on lists in 2023, which "
              "nothing here can check"},
  };
}

}  // namespace

std::span<const ArticleRow> money_rows() {
  static const std::vector<ArticleRow> kRows = [] {
    std::vector<ArticleRow> rows = token_rows();
    for (const ArticleRow& row : price_rows()) rows.push_back(row);
    return rows;
  }();
  return kRows;
}

}  // namespace trine
