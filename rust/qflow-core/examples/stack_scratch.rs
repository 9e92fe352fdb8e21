use qflow_core::expression::{Expression, Value};
fn main(){
 let kib: usize = std::env::args().nth(1).unwrap().parse().unwrap();
 let src = std::env::args().nth(2).unwrap();
 std::thread::Builder::new().stack_size(kib<<10).spawn(move || {
   match Expression::new(&src,&[]) { Ok(e)=>match e.evaluate(Value::Null,vec![]) {Ok(_)=>println!("ok"),Err(e)=>println!("{}",&e.to_string()[e.to_string().len().saturating_sub(60)..])}, Err(e)=>println!("{e}") }
 }).unwrap().join().unwrap();
}
