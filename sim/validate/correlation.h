// What simulating a set of reference records says: the error of each, of families of them, and how well schedules are
// ranked. Plain arithmetic on numbers that were simulated elsewhere; knows no chip.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "validate/record.h"

namespace memwall::validate {

/// What came of a record.
struct Simulation {
    std::string skipped;   ///< why it was not simulated; empty: it was
    double simulated = 0;  ///< in the record's metric
    double roofline = 0;  ///< the same by the roofline: the larger of FLOPs and bytes over their peaks; 0: says nothing
    bool compute_bound = false;  ///< by the roofline
    double sm_clock_mhz = 0, board_w = 0;
    std::string device, op, bound, note;
    std::string schedule;  ///< of the kernel with the most FLOPs: "128x256x64, 4 stages, split 1"
    double time_us = 0;
    double size = 0;                                        ///< bytes that the operation has to move
    std::vector<std::pair<std::string, double>> waterfall;  ///< cause, us
    double wall_s = 0;
};

struct Result {
    Record record;
    Simulation simulation;
    double error_pct = 0;  ///< 100 * (simulated - measured) / measured
    std::string family;    ///< see family_of
    bool best = true;      ///< no other library's record of the same operation, device and state is better

    [[nodiscard]] bool compared() const { return simulation.skipped.empty(); }
};

/// Statistics of absolute errors in percent; bias is the mean of the signed ones.
struct ErrorStats {
    int n = 0;
    double mape_pct = 0, median_ape_pct = 0, p90_ape_pct = 0, bias_pct = 0;
};

/// Records of one operation and library that differ only in schedule; of several with the same one, the fastest.
struct Ranking {
    std::string what;
    int n = 0;
    double kendall_tau = 0;
    double regret_pct = 0;  ///< measured time of the simulation's favourite over that of the hardware's, less one
};

struct Summary {
    int n = 0, skipped = 0;
    ErrorStats all;
    double pearson_log = 0;  ///< of the logarithms of simulated and measured, all metrics together
    double kendall_tau = 0;  ///< over pairs of one operation, device and metric
    std::map<std::string, ErrorStats> by_op, by_source, by_device, by_kind, by_family, by_family_best;
    std::vector<Ranking> rankings;
    /// Simpler models on the records that they say something of: their errors beside memwall's on the same records.
    ErrorStats roofline, roofline_fixed, memwall_there;
    double memory_efficiency = 0, compute_efficiency = 0;  ///< of roofline_fixed: the best two for these very records
};

/// The family of products whose tile the record names: kernels of whatever quality, measured for their schedule.
inline constexpr const char* kGivenTile = "gemm, of a given tile";

/// The family that a record is judged with, such as "gemm, m <= 64" or "decode attention, KV > 60 MB".
std::string family_of(const Record& record);

/// The aim for a family's median absolute error in percent, where there is one.
std::optional<double> aim_of(const std::string& family);

/// Joins records and what came of them; in the records' order.
std::vector<Result> compare(std::vector<Record> records, std::vector<Simulation> simulations);

Summary summarise(const std::vector<Result>& results);

ErrorStats stats_of(std::vector<double> signed_errors_pct);

/// Kendall's tau-b of pairs (x, y): 1 when they rise together, -1 when one falls as the other rises, 0 when there is
/// no order to compare.
double kendall_tau(const std::vector<std::pair<double, double>>& points);

/// Groups of records with a schedule that differ in nothing else: at least three each.
std::vector<Ranking> rankings_of(const std::vector<Result>& results);

/// Schema memwall-correlation/1.
std::string to_json(const std::vector<Result>& results, const Summary& summary);

/// A summary for a person.
std::string to_markdown(const std::vector<Result>& results, const Summary& summary);

/// One page that needs nothing else: plots, tables, each record's waterfall.
std::string to_html(const std::vector<Result>& results, const Summary& summary);

}  // namespace memwall::validate
