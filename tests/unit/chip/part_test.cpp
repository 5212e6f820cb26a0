// The common grid: messages in exact time order whatever the step, and a broken lookahead is an error.
#include "chip/part.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace memwall::chip {
namespace {

struct Handled {
    std::int64_t at_ps;
    std::uint32_t part, payload;
    bool operator==(const Handled&) const = default;
};

constexpr std::int64_t kLatencyPs = 20'000;

/// Passes tokens to a neighbour after at least the latency, and to itself after less.
class Player : public PartOf<Player> {
public:
    Player(const sc_core::sc_module_name& name, Grid& grid, std::uint32_t id, std::vector<Handled>& log)
        : PartOf(name, grid, id), log_(log), number_(id), random_(id) {}
    void connect(Player& next) { next_ = &next; }
    void begin(std::int64_t at_ps) { deliver({at_ps, next_order(), 40, 0, 0}); }
    void handle(const Message& message) {
        log_.push_back({message.due_ps, number_, message.payload});
        if (message.payload == 0) return;
        const auto jitter = static_cast<std::int64_t>(random_() % 5000);
        if (message.payload % 3 == 0) {
            post(message.due_ps + jitter, 0, message.payload - 1);
        } else {
            send(*next_, message.due_ps + kLatencyPs + jitter, 0, message.payload - 1);
        }
        if (message.payload == 17) post(message.due_ps + 300 * kLatencyPs, 0, 0);  // beyond the mailbox's horizon
    }

private:
    std::vector<Handled>& log_;
    std::uint32_t number_;
    std::mt19937 random_;
    Player* next_ = nullptr;
};

std::vector<Handled> play(std::int64_t step_ps) {
    sc_core::sc_simcontext context;
    sc_core::sc_curr_simcontext = &context;
    std::vector<Handled> log;
    {
        Grid grid;
        grid.set_step(step_ps);
        std::vector<std::unique_ptr<Player>> players;
        for (std::uint32_t i = 0; i < 7; ++i)
            players.push_back(
                std::make_unique<Player>(sc_core::sc_module_name(fmt::format("p{}", i).c_str()), grid, i + 1, log));
        for (std::size_t i = 0; i < players.size(); ++i) players[i]->connect(*players[(i + 1) % players.size()]);
        for (auto& player : players) {
            for (int token = 1; token <= 5; ++token) player->begin(token * kLatencyPs + 777);
        }
        sc_core::sc_start();
        if (grid.failure) std::rethrow_exception(grid.failure);
    }
    return log;
}

/// What each part saw, in its own order.
std::vector<std::vector<Handled>> by_part(const std::vector<Handled>& log) {
    std::vector<std::vector<Handled>> parts(8);
    for (const Handled& h : log) parts[h.part].push_back(h);
    return parts;
}

TEST(Part, SeesTheSameMessagesInTheSameOrderWhateverTheStep) {
    const auto whole = by_part(play(kLatencyPs));
    EXPECT_EQ(whole, by_part(play(kLatencyPs / 2)));
    EXPECT_EQ(whole, by_part(play(kLatencyPs / 20)));
    for (const auto& seen : whole) {
        for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].at_ps, seen[i - 1].at_ps);
    }
}

TEST(Part, RefusesAMessageThatIsDueWithinTheWindowInProgress) {
    EXPECT_THROW(play(kLatencyPs * 3), ModelError);
}

/// Tells itself something whose time has passed.
class Belated : public PartOf<Belated> {
public:
    using PartOf::PartOf;
    void begin() { deliver({4 * kLatencyPs, next_order(), 0, 0, 0}); }
    void handle(const Message& message) { post(message.due_ps - 2 * kLatencyPs, 0, 0); }
};

// Such a message would wrap around in the queue's key and come out 2^28 ps late, which once made a product of 175 us
// one of 443.
TEST(Part, RefusesAMessageToItselfFromBeforeTheWindowInProgress) {
    sc_core::sc_simcontext context;
    sc_core::sc_curr_simcontext = &context;
    Grid grid;
    Belated part(sc_core::sc_module_name("belated"), grid, 1);
    part.begin();
    sc_core::sc_start();
    ASSERT_TRUE(grid.failure);
    EXPECT_THROW(std::rethrow_exception(grid.failure), ModelError);
}

/// Gives its neighbour something whose time has passed.
class Late : public PartOf<Late> {
public:
    using PartOf::PartOf;
    void connect(Late& other) { other_ = &other; }
    void begin() { deliver({4 * kLatencyPs, next_order(), 0, 0, 0}); }
    void handle(const Message& message) { send(*other_, message.due_ps - 3 * kLatencyPs, 0, 0); }

private:
    Late* other_ = nullptr;
};

TEST(Part, RefusesAMessageFromBeforeTheWindowInProgress) {
    sc_core::sc_simcontext context;
    sc_core::sc_curr_simcontext = &context;
    Grid grid;
    Late part(sc_core::sc_module_name("late"), grid, 1), other(sc_core::sc_module_name("other"), grid, 2);
    part.connect(other);
    part.begin();
    sc_core::sc_start();
    ASSERT_TRUE(grid.failure);
    EXPECT_THROW(std::rethrow_exception(grid.failure), ModelError);
}

}  // namespace
}  // namespace memwall::chip
