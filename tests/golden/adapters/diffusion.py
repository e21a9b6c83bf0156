"""Samplers of diffusions, on denoisers of two layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.solvers.ddim import ddim, fresh_share
from codecbwe_jax.solvers.dpm_solver import dpm_solver_2m
from codecbwe_jax.solvers.guidance import Estimate, guided
from codecbwe_jax.solvers.levels import Denoise, Level
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.solvers.probability_flow import probability_flow
from codecbwe_jax.solvers.schedules import (
    cosine_alpha_bar,
    karras_sigmas,
    leading_steps,
    trailing_steps,
)
from tests.golden.case import Case
from tests.golden.networks import Values, part

NO_LATENT = -11.4981 * 0.3342  # what stands for no condition


def toy(weights: dict[str, np.ndarray], x: jax.Array, cond: Any, heard: Any) -> jax.Array:
    """Two convolutions of one frame over the channels `[B, C, ...]`, the first moved by what is
    heard of the time `[B]`."""
    both = jnp.moveaxis(jnp.concatenate([x, jnp.broadcast_to(cond, x.shape)], 1), 1, -1)
    w1, w2 = (w.reshape(w.shape[:2]).T for w in (weights["w1.weight"], weights["w2.weight"]))
    moved = heard.reshape(-1, *[1] * (x.ndim - 1)) * weights["u"]
    said = jnp.tanh(both @ w1 + weights["w1.bias"] + moved) @ w2 + weights["w2.bias"]
    return jnp.moveaxis(said, -1, 1)


def of_velocity(weights: dict[str, np.ndarray], cond: Any) -> Callable[..., jax.Array]:
    """A denoiser of a diffusion of 1000 steps."""

    def denoise(x: jax.Array, level: Level) -> jax.Array:
        return level.clean_of_velocity(x, toy(weights, x, cond, level.time / 1000))

    return denoise


def tables(case: Case, alpha_bar: np.ndarray) -> Values:
    index = case.given("sched/index")
    betas = 1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])
    return {"sched/betas": betas[index], "sched/alphas_cumprod": alpha_bar[index]}


def without_training(case: Case, results: Values) -> Values:
    for name in case.io:
        if name not in results and name not in case.inputs:
            case.leave_out(name, "of how it learns, which no objective does yet")
    return results


def audiosr_ddim(case: Case) -> Values:
    case.small.changes_nothing("channels", "hidden", "toy_denoiser")
    count, scale = case.small["steps"], case.small["guidance"]
    alpha_bar = cosine_alpha_bar()
    steps = np.append(leading_steps(count), 0)
    levels = Level.of_alpha_bar(steps, alpha_bar[steps])
    cond, x, noise = (jnp.asarray(case.given(f"in_{n}")) for n in ("cond", "x_T", "step_noise"))
    denoise = guided(
        of_velocity(case.weights, cond), of_velocity(case.weights, case.given("in_uncond")), scale
    )
    first = jax.tree.map(lambda values: values[:2], levels)
    begins, ends = (jax.tree.map(lambda v, s=s: v[s], levels) for s in (np.s_[:-1], np.s_[1:]))

    @jax.jit
    def sampled(x: jax.Array) -> Values:
        return {
            f"ddim/out_eta0.0_S{count}_cfg{scale}": ddim(denoise, x, levels),
            f"ddim/out_eta1.0_S{count}_cfg{scale}": ddim(
                denoise, x, levels, 1.0, lambda number: noise[number]
            ),
            "ddim/x_after_first_step_eta0": ddim(denoise, x, first),
        }

    return {
        **tables(case, alpha_bar),
        **sampled(x),
        "ddim/timesteps": steps[-2::-1].astype(np.int32),
        "ddim/alphas": np.square(begins.alpha)[::-1],
        "ddim/alphas_prev": np.square(ends.alpha)[::-1],
        "ddim/sigmas_eta1": (ends.sigma * np.sqrt(fresh_share(begins, ends)))[::-1],
    }


def flashsr_path(alpha_bar: np.ndarray, steps: np.ndarray) -> Level:
    """Through these steps to what has no noise."""
    return Level.of_alpha_bar(np.append(steps, 0), np.append(alpha_bar[steps], 1.0))


def flashsr_grids(case: Case, alpha_bar: np.ndarray) -> Values:
    results: Values = {}
    names = {count: f"infer/{{}}_{count}step" for count in (1, 2, 4)}
    for count, name in (names | {case.small["K"]: "distill/teacher_{}"}).items():
        steps = trailing_steps(count)
        levels = flashsr_path(alpha_bar, steps)
        results[name.format("timesteps")] = steps.astype(np.int32)
        results[name.format("sigmas")] = levels.sigma / levels.alpha
    return results


def flashsr_diffusion(case: Case) -> Values:
    case.small.changes_nothing("channels", "hidden", "toy_denoiser", "toy_discriminator")
    alpha_bar = cosine_alpha_bar(largest_beta=0.999)
    table = Level.of_alpha_bar(np.arange(len(alpha_bar)), alpha_bar)
    index, z, cond = (case.given(n) for n in ("sched/index", "in_z", "in_cond"))
    t, noise, start = (case.given(n) for n in ("ddpm/in_t", "ddpm/in_noise", "infer/in_noise"))
    between = case.given("distill/in_noise")
    strength = 3 + 10 * case.given("distill/in_uniform_for_guidance")
    first, middle = (int(case.given(f"distill/{n}_start_timestep")[0]) for n in ("start0", "mid"))

    def denoiser(name: str, scale: Any = 1.0) -> Estimate:
        weights = part(case.weights, f"{name}.")
        return guided(of_velocity(weights, cond), of_velocity(weights, NO_LATENT), scale)

    def at(step: Any) -> Level:
        return jax.tree.map(lambda values: values[step], table)

    def solved(denoise: Estimate, x: jax.Array, steps: np.ndarray) -> jax.Array:
        return dpm_solver_2m(denoise, x, flashsr_path(alpha_bar, steps))

    def taught(x: jax.Array, begin: int) -> jax.Array:
        grid = trailing_steps(case.small["K"])
        return solved(denoiser("teacher", strength), x, grid[grid <= begin])

    @jax.jit
    def sampled(start: jax.Array, z: jax.Array) -> Values:
        noisy = at(t).mix(z, noise)
        said = toy(part(case.weights, "student."), noisy, cond, at(t).time / 1000)
        clean = at(t).clean_of_velocity(noisy, said)
        found = {
            "ddpm/q_sample": noisy,
            "ddpm/model_out": said,
            "ddpm/pred_x0_from_v": clean,
            "ddpm/pred_eps_from_v": at(t).noise_in(noisy, clean),
            "distill/start0_teacher_output": taught(between, first),
            "distill/mid_teacher_output": taught(at(middle).mix(z, between), middle),
            "infer/out_4step_cfg2.5": solved(denoiser("student", 2.5), start, trailing_steps(4)),
        }
        for count in (1, 2, 4):
            out = solved(denoiser("student"), start, trailing_steps(count))
            found[f"infer/out_{count}step"] = out
        return found

    results = tables(case, alpha_bar) | flashsr_grids(case, alpha_bar) | sampled(start, z)
    results["sched/sqrt_alphas_cumprod"] = at(index).alpha
    results["sched/sqrt_one_minus_alphas_cumprod"] = at(index).sigma
    return without_training(case, results)


def consistency_edm(case: Case) -> Values:
    case.small.changes_nothing("channels", "hidden", "toy", "mu")
    lowest, highest, data = 0.002, 80.0, 0.5
    y, noise, cond, n = (case.given(f"in_{name}") for name in ("y", "noise", "cond", "n"))
    grid = karras_sigmas(50, lowest, highest)[::-1].astype(np.float32)
    sampled = np.append(karras_sigmas(5, lowest, highest), 0).astype(np.float32)
    weights = part(case.weights, "teacher.")

    def denoiser(shift: float) -> Denoise:
        def denoise(x: jax.Array, level: Level) -> jax.Array:
            sigma = level.sigma[:, None, None]
            shifted, norm = sigma - shift, jnp.sqrt(sigma**2 + data**2)
            said = toy(weights, x / norm, cond, jnp.log(level.sigma) / 4)
            kept = data**2 / (shifted**2 + data**2)
            return kept * x + shifted * data / norm * said

        return denoise

    def levels(sigmas: Any) -> Level:
        return Level(sigmas, jnp.ones_like(sigmas), sigmas)

    @jax.jit
    def steps(z: jax.Array, shift: jax.Array) -> Values:
        # the teacher is the one without a shift; what samples with many steps has the student's
        teacher, sampler = denoiser(0.0), denoiser(shift)
        step, x = grid[np.stack([n, n - 1])], y + grid[n][:, None, None] * z
        # no second slope where there is no noise
        nearly = solve(probability_flow(sampler, levels), 80 * z, sampled[:-1], "heun")
        return {
            "cd_euler_point": ddim(teacher, x, levels(step)),
            "cd_heun_point": solve(probability_flow(teacher, levels), x, step, "heun"),
            "teacher_euler_4steps": ddim(sampler, 80 * z, levels(sampled)),
            "teacher_heun_4steps": ddim(sampler, nearly, levels(sampled[-2:])),
        }

    results: Values = {"grid/t_1_to_50": grid}
    for prior, z, shift in (("zero_mean", noise, lowest), ("mean_prior", noise + cond, 0.0)):
        results |= {f"{prior}/{name}": value for name, value in steps(z, shift).items()}
    return without_training(case, results)


ADAPTERS = {
    "audiosr_ddim": audiosr_ddim,
    "consistency_edm": consistency_edm,
    "flashsr_diffusion": flashsr_diffusion,
}
