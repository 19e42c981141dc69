fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (store, _) = kiln_store::Store::open(&path).unwrap();
    use kiln_protocol::*;
    let id = RunId("a-0001".into());
    store.insert(RunSummary::queued(id.clone(), 1.0), "").unwrap();
    let per: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(4000);
    let mut z = 1u64;
    let line: Vec<[f64; 2]> = (0..1_000_000)
        .map(|i| {
            z = z.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            [
                i as f64 / 469.0,
                f64::from((2.3 * (-(i as f64) / 3e5).exp() + 0.1 * ((z >> 40) as f64 / 16777216.0)) as f32),
            ]
        })
        .collect();
    let t = std::time::Instant::now();
    for (i, b) in line.chunks(per).enumerate() {
        store
            .ingest(
                &id,
                &[Event { seq: i as u64 + 1, t: 1.0, body: Body::Points { series: "l".into(), points: b.to_vec() } }],
                1,
            )
            .unwrap();
    }
    println!("ingest {:?}", t.elapsed());
    store.flush().unwrap();
    let size = || {
        std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("du -sb {p}/*; du -sk {p}; ls {p}/blobs | wc -l", p = path.display()))
            .status()
            .unwrap()
    };
    size();
    for c in [200; 5] {
        let t = std::time::Instant::now();
        store.series(&id, "l", None, None, c).unwrap();
        println!("query {:?}", t.elapsed());
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    store.flush().unwrap();
    size();
    drop(store);
    size();
    let t = std::time::Instant::now();
    let (store, _) = kiln_store::Store::open(&path).unwrap();
    println!("open {:?}", t.elapsed());
    let t = std::time::Instant::now();
    store.series(&id, "l", None, None, 200).unwrap();
    println!("cold query {:?}", t.elapsed());
}
