"""The algorithm where the answer is known: Gaussians whose scores are exact, and a mixture."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from model.flow import Preconditioning
from model.sampling import FEW_STEP_SHIFT, sample, schedule
from training.dmd import Targets, data_of, direction, fake_errors, simulated, student_errors

POINTS = 256


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def alone(points: int) -> Targets:
    """Every token is a design of its own, and to be made."""
    return Targets(torch.arange(points), torch.ones(points, dtype=torch.bool), points)


class Gaussian(nn.Module):
    """The exact velocity of data with this mean and standard deviation, in one channel."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(math.log(std)))

    def forward(self, x_T1: Tensor, sigma_T: Tensor) -> Tensor:
        skip = Preconditioning.at(sigma_T, self.log_std.exp()[None]).skip
        return skip * (x_T1 - (1 - sigma_T[:, None]) * self.mean) - self.mean


class Line(nn.Module):
    """A student of one step: its data are ``scale * noise + shift``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x_T1: Tensor, sigma_T: Tensor) -> Tensor:
        return x_T1 - (self.scale * x_T1 + self.shift)


class Net(nn.Module):
    """A velocity in the plane."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers = [nn.Linear(5, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_T2: Tensor, sigma_T: Tensor) -> Tensor:
        at = sigma_T[:, None]
        out: Tensor = self.layers(torch.cat([x_T2, at, (4 * at).sin(), (4 * at).cos()], dim=1))
        return out


def mixture(means_M2: Tensor, std: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The exact velocity of an even mixture of Gaussians."""

    def velocity(x_T2: Tensor, sigma_T: Tensor) -> Tensor:
        sigma, keep = sigma_T[:, None, None], 1 - sigma_T[:, None, None]
        away = x_T2[:, None] - keep * means_M2
        variance = (keep * std).square() + sigma.square()
        weights = (-away.square().sum(dim=2, keepdim=True) / (2 * variance)).softmax(dim=1)
        toward = (sigma / variance - keep * std**2 / variance) * away - means_M2
        return (weights * toward).sum(dim=1)

    return velocity


def distil(
    teacher: Callable[[Tensor, Tensor], Tensor],
    student: nn.Module,
    fake: nn.Module,
    sigmas: list[float],
    *,
    channels: int,
    updates: int,
    lr: float,
    ratio: int = 2,
) -> None:
    targets = alone(POINTS)
    nothing = torch.zeros(POINTS, channels)
    of_student = torch.optim.Adam(student.parameters(), lr=lr, betas=(0.0, 0.9))
    of_fake = torch.optim.Adam(fake.parameters(), lr=2 * lr, betas=(0.0, 0.9))

    def tau() -> Tensor:
        return 0.02 + 0.96 * torch.rand(POINTS)

    def noise() -> Tensor:
        return torch.randn(POINTS, channels)

    for update in range(updates * ratio):
        step = int(torch.randint(len(sigmas) - 1, ()))
        data = simulated(student, nothing, targets, sigmas, step, noise)
        if update % ratio == 0:
            sigma = tau()
            x = torch.lerp(data.detach(), noise(), sigma[:, None])
            with torch.no_grad():
                said = data_of(fake, x, sigma, targets), data_of(teacher, x, sigma, targets)
            of_student.zero_grad()
            student_errors(data, direction(data.detach(), *said, targets), targets).mean().backward()
            of_student.step()
        of_fake.zero_grad()
        fake_errors(fake, data, tau(), noise(), targets).mean().backward()
        of_fake.step()


def test_a_gaussian_is_learned_in_one_step() -> None:
    student, fake = Line(), Gaussian(0.0, 1.0)
    distil(Gaussian(2.0, 0.5).requires_grad_(False), student, fake, [1.0, 0.0], channels=1, updates=400, lr=0.02)
    assert student.shift.item() == pytest.approx(2.0, abs=0.05)
    assert abs(student.scale.item()) == pytest.approx(0.5, abs=0.05)
    assert fake.mean.item() == pytest.approx(2.0, abs=0.1)  # it has followed


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_mixture_keeps_its_modes_and_is_sharper_than_the_undistilled(steps: int) -> None:
    means, std, sigmas = _ring(6, 2.0), 0.15, schedule(steps, FEW_STEP_SHIFT).tolist()
    pretrained = _pretrained(means, std)
    student = copy.deepcopy(pretrained)
    distil(mixture(means, std), student, copy.deepcopy(pretrained), sigmas, channels=2, updates=2000, lr=1e-3)
    before, after = (_sampled(net, sigmas) for net in (pretrained, student))
    near, modes = torch.cdist(after, means).min(dim=1)
    assert near.mean() < 0.75 * torch.cdist(before, means).min(dim=1).values.mean()
    counts = torch.bincount(modes, minlength=6) / len(modes)
    assert counts.min() > 0.5 / 6 and counts.max() < 2 / 6


def _ring(modes: int, radius: float) -> Tensor:
    angles = torch.arange(modes) * 2 * math.pi / modes
    return radius * torch.stack([angles.cos(), angles.sin()], dim=1)


def _pretrained(means: Tensor, std: float) -> Net:
    net, targets = Net(), alone(POINTS)
    adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(1500):
        data = means[torch.randint(len(means), (POINTS,))] + std * torch.randn(POINTS, 2)
        adam.zero_grad()
        fake_errors(net, data, torch.rand(POINTS), torch.randn(POINTS, 2), targets).mean().backward()
        adam.step()
    return net


def _sampled(net: Net, sigmas: list[float], points: int = 2000) -> Tensor:
    def at(x: Tensor, sigma: float) -> Tensor:
        return net(x, x.new_full((points,), sigma))

    start = torch.randn(points, 2)
    return sample(at, start, alone(points).target_T, sigmas, renoise=lambda: torch.randn(points, 2))


def test_given_tokens_stay_as_they_are_and_count_nowhere() -> None:
    targets = Targets(torch.tensor([0, 0, 1]), torch.tensor([True, False, True]), 2)
    given = torch.tensor([[7.0, 7.0], [3.0, 4.0], [7.0, 7.0]])
    weight = torch.tensor(0.3, requires_grad=True)
    data = simulated(lambda x, _: x * weight, given, targets, [1.0, 0.5, 0.0], 1, lambda: torch.randn(3, 2))
    assert data[1].tolist() == [3.0, 4.0]
    student_errors(data, torch.ones(3, 2), targets).sum().backward()
    changed = data.detach().clone()
    changed[1] += 100
    zero = torch.zeros(3, 2)
    for one, other in ((data, changed), (zero, zero.index_fill(0, torch.tensor([1]), 9.0))):
        assert torch.equal(targets.means(one), targets.means(other))
        assert torch.equal(targets.sums(one), targets.sums(other))


def test_only_the_last_step_has_a_gradient() -> None:
    """One call of the network is recorded, whatever the number of the step."""
    calls: list[bool] = []

    def net(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return x * weight

    weight = torch.ones((), requires_grad=True)
    simulated(net, torch.zeros(4, 2), alone(4), [1.0, 0.9, 0.7, 0.3, 0.0], 3, lambda: torch.randn(4, 2))
    assert calls == [False, False, False, True]


def test_the_simulation_ends_where_the_sampler_does() -> None:
    """What the student is trained on in its last step is what ``sample`` gives."""
    net, sigmas = Net().requires_grad_(False), schedule(4, FEW_STEP_SHIFT).tolist()
    drawn = [torch.randn(POINTS, 2) for _ in range(4)]
    again = iter(drawn)
    data = simulated(net, torch.zeros(POINTS, 2), alone(POINTS), sigmas, 3, lambda: next(again))
    renoise = iter(drawn[1:])

    def at(x: Tensor, sigma: float) -> Tensor:
        return net(x, x.new_full((POINTS,), sigma))

    made = sample(at, drawn[0], alone(POINTS).target_T, sigmas, renoise=lambda: next(renoise))
    torch.testing.assert_close(data, made)


def test_each_design_has_its_own_scale() -> None:
    targets = Targets(torch.tensor([0, 1]), torch.tensor([True, True]), 2)
    data, real = torch.tensor([[1.0], [10.0]]), torch.tensor([[0.0], [0.0]])
    found = direction(data, data, real, targets)
    assert found.tolist() == [[1.0], [1.0]]
    assert direction(data, real, data, targets).isfinite().all().item() is False  # not hidden: the caller names it
