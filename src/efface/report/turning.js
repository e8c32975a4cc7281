// Frames lie side by side in one picture: the slider moves the one that is seen.
for (const turning of document.querySelectorAll(".turning")) {
  const slider = turning.querySelector("input");
  const { first, last } = turning.dataset;
  const turn = () => {
    const part = slider.value / slider.max;
    for (const film of turning.querySelectorAll(".film img")) {
      film.style.transform = `translateX(${(-100 * slider.value) / (Number(slider.max) + 1)}%)`;
    }
    turning.querySelector("output").value = `${Math.round(Number(first) + part * (last - first))}°`;
  };
  slider.addEventListener("input", turn);
  turn();
}
